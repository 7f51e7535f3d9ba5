import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import {
  ffmpeg,
  makeFilm,
  makeMp4,
  needsFfmpeg,
  testPictures,
  turnByMatrix,
} from '../../../test/fixtures/films.js';
import { detectType } from '../media-types.js';
import { createPosters, type PosterOptions } from './poster.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'poster-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function take(
  path: string,
  { mimeType = 'video/mp4', ...options }: Partial<PosterOptions & { mimeType: string }> = {},
) {
  const posters = createPosters({
    ffmpeg: ffmpeg ?? '',
    parallel: 1,
    memoryLimitBytes: 2 ** 30,
    wallClockMs: 12_000,
    maxPixels: 50_000_000,
    ...options,
  });
  const poster = await posters.take({ path, mimeType, folder, signal: new AbortController().signal });
  const { data, info } = await sharp(await readFile(poster))
    .raw()
    .toBuffer({ resolveWithObject: true });
  const pixel = (x: number, y: number): number[] => [
    ...data.subarray((y * info.width + x) * info.channels, (y * info.width + x) * info.channels + 3),
  ];
  return { width: info.width, height: info.height, channels: info.channels, pixel };
}

const at = (name: string): string => join(folder, name);
/** Colours of films are rounded on their way. */
const isAbout = (seen: number[], wanted: number[]): void =>
  wanted.forEach((value, i) => expect(Math.abs(seen[i]! - value), String(seen)).toBeLessThan(25));

const red = [255, 0, 0];
const blue = [0, 0, 255];
/** Red above, blue below. */
const halves =
  'color=red:size=160x60:rate=10:duration=1[a];color=blue:size=160x60:rate=10:duration=1[b];[a][b]vstack';

describe('a poster', () => {
  if (ffmpeg === undefined) {
    test.skip(needsFfmpeg, () => undefined);
    return;
  }

  test.each([
    ['mp4', 'video/mp4', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p']],
    ['mov', 'video/quicktime', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p']],
    ['webm', 'video/webm', ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8']],
    ['mkv', 'video/matroska', ['-c:v', 'mpeg4']],
    ['avi', 'video/vnd.avi', ['-c:v', 'mpeg4']],
    ['ogv', 'video/ogg', ['-c:v', 'libtheora']],
    ['flv', 'video/x-flv', ['-c:v', 'flv']],
    ['ts', 'video/mp2t', ['-c:v', 'mpeg2video', '-r', '25']],
    ['mpg', 'video/mp1s', ['-c:v', 'mpeg1video', '-r', '25', '-f', 'mpeg']],
    ['vob', 'video/mp2p', ['-c:v', 'mpeg2video', '-r', '25', '-f', 'vob']],
    ['m1v', 'video/mpeg', ['-c:v', 'mpeg1video', '-r', '25', '-f', 'mpeg1video']],
    ['wmv', 'video/x-ms-asf', ['-c:v', 'wmv2', '-f', 'asf']],
    ['3gp', 'video/3gpp', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p']],
    ['3g2', 'video/3gpp2', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p']],
    ['m4v', 'video/x-m4v', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-f', 'ipod']],
  ])('is taken of %s, which is detected as %s', async (extension, mimeType, encoding) => {
    const path = await makeFilm(at(`film.${extension}`), halves, ...encoding);
    expect((await detectType((await readFile(path)).subarray(0, 4096))).mime).toBe(mimeType);
    const { width, height, pixel } = await take(path, { mimeType });
    expect([width, height]).toEqual([160, 120]);
    isAbout(pixel(80, 20), red);
    isAbout(pixel(80, 100), blue);
  });

  test('is taken of a film with sound, which is not decoded', async () => {
    const sound = ['-f', 'lavfi', '-i', 'sine=duration=2', '-c:a', 'aac', '-map', '1:a', '-map', '0:v'];
    const path = await makeFilm(
      at('film.mp4'),
      testPictures,
      ...sound,
      '-c:v',
      'libx264',
      '-pix_fmt',
      'yuv420p',
    );
    expect(await take(path)).toMatchObject({ width: 160, height: 120, channels: 3 });
  });

  test('is upright where the film was recorded on its side', async () => {
    const path = await makeMp4(at('film.mp4'), halves);
    await turnByMatrix(path, 120);
    const { width, height, pixel } = await take(path);
    expect([width, height]).toEqual([120, 160]);
    isAbout(pixel(100, 80), red);
    isAbout(pixel(20, 80), blue);
  });

  test('has square pixels where the film’s are wide', async () => {
    const path = await makeFilm(
      at('film.mp4'),
      testPictures,
      '-vf',
      'setsar=2/1',
      '-c:v',
      'libx264',
      '-pix_fmt',
      'yuv420p',
    );
    expect(await take(path)).toMatchObject({ width: 320, height: 120 });
  });

  test('has at most 4096 pixels in a direction, and no more than are allowed', async () => {
    const path = await makeFilm(at('film.mp4'), 'color=red:size=5000x100:rate=1:duration=1', '-c:v', 'mpeg4');
    expect(await take(path)).toMatchObject({ width: 4096, height: 81 });
    expect(await take(path, { maxPixels: 10_000 })).toMatchObject({ width: 100, height: 2 });
  });

  test('is taken behind what is black', async () => {
    const long =
      'color=black:size=160x120:rate=10:duration=3[a];color=red:size=160x120:rate=10:duration=3[b];[a][b]concat';
    const path = await makeFilm(at('long.mp4'), long, '-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-g', '10');
    isAbout((await take(path)).pixel(80, 60), red);
    // One key frame, and that is black.
    const short = 'color=red:size=160x120:rate=10:duration=2,fade=in:0:10';
    const faded = await makeFilm(
      at('short.mp4'),
      short,
      '-c:v',
      'libx264',
      '-pix_fmt',
      'yuv420p',
      '-g',
      '100',
    );
    isAbout((await take(faded)).pixel(80, 60), red);
  });

  test('is black when all of the film is', async () => {
    const path = await makeMp4(at('film.mp4'), 'color=black:size=160x120:rate=10:duration=1');
    isAbout((await take(path)).pixel(80, 60), [0, 0, 0]);
  });

  test('is taken of a single picture', async () => {
    const path = await makeMp4(at('film.mp4'), 'color=red:size=160x120:rate=10:duration=0.1');
    isAbout((await take(path)).pixel(80, 60), red);
  });
});

describe('no poster is taken', () => {
  if (ffmpeg === undefined) {
    test.skip(needsFfmpeg, () => undefined);
    return;
  }

  test('of sound alone', async () => {
    const path = await makeFilm(at('film.mp4'), 'sine=duration=1', '-c:a', 'aac');
    await expect(take(path)).rejects.toMatchObject({
      code: 'unsupported-codec',
      message: 'The film has no pictures.',
    });
  });

  test('of pictures in a codec that is not on our list', async () => {
    const path = await makeFilm(at('film.avi'), testPictures, '-c:v', 'zmbv');
    await expect(take(path, { mimeType: 'video/vnd.avi' })).rejects.toMatchObject({
      code: 'unsupported-codec',
      message: 'The pictures of the film are in a codec that is not decoded here.',
    });
  });

  test('of a film that is cut before its table of contents, or of noise', async () => {
    const whole = await readFile(await makeMp4(at('whole.mp4')));
    await writeFile(at('cut.mp4'), whole.subarray(0, whole.indexOf('moov') - 4));
    await writeFile(at('noise.mp4'), Buffer.alloc(5000, 'noise'));
    const damaged = {
      code: 'corrupt-image',
      message: expect.stringMatching(/^The film is damaged: (?!.*\/)/) as string,
    };
    await expect(take(at('cut.mp4'))).rejects.toMatchObject(damaged);
    await expect(take(at('noise.mp4'))).rejects.toMatchObject(damaged);
    await expect(take(at('whole.mp4'), { mimeType: 'video/webm' })).rejects.toMatchObject(damaged);
  });

  test('of a film whose pictures are gone', async () => {
    const bytes = await readFile(await makeMp4(at('film.mp4')));
    const media = bytes.indexOf('mdat') + 4;
    await writeFile(at('film.mp4'), bytes.fill(0, media, bytes.indexOf('moov') - 4));
    await expect(take(at('film.mp4'))).rejects.toMatchObject({ code: 'corrupt-image' });
  });

  test('of lists that name other files', async () => {
    const target = await makeMp4(at('target.mp4'));
    const lists = {
      'hls.m3u8': `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n${target}\n#EXT-X-ENDLIST\n`,
      'list.ffconcat': `ffconcat version 1.0\nfile ${target}\n`,
      'manifest.mpd': `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><BaseURL>${target}</BaseURL></Period></MPD>`,
      'film.sdp': 'v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
    };
    for (const [name, text] of Object.entries(lists)) {
      await writeFile(at(name), text);
      for (const mimeType of ['video/mp4', 'video/webm', 'video/mp2t']) {
        await expect(take(at(name), { mimeType }), `${name} as ${mimeType}`).rejects.toMatchObject({
          code: expect.stringMatching(/corrupt-image|unsupported-codec/) as string,
        });
      }
    }
  });

  test('of pictures that are too large', async () => {
    const size = 'color=red:size=17000x4000:rate=1:duration=1';
    const path = await makeFilm(at('film.mov'), size, '-c:v', 'mjpeg', '-pix_fmt', 'yuvj420p');
    await expect(take(path, { mimeType: 'video/quicktime' })).rejects.toMatchObject({
      code: 'too-many-pixels',
      message: 'The pictures of the film have more than 67108864 pixels.',
    });
  });

  test('with less memory than it needs', async () => {
    const path = await makeMp4(at('film.mp4'));
    await expect(take(path, { memoryLimitBytes: 100_000 })).rejects.toMatchObject({ code: 'decoder-memory' });
  });

  test('of a film that takes too long', async () => {
    const path = await makeMp4(at('film.mp4'));
    await expect(take(path, { wallClockMs: 1 })).rejects.toMatchObject({ code: 'decoder-timeout' });
  });
});
