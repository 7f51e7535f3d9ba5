import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Api, type FileView } from './api.js';
import { look } from './pictures.js';
import { startServer, temporaryFolder, until, type RunningServer } from './running-server.js';

const run = promisify(execFile);
const hasFfmpeg = await run('ffmpeg', ['-version']).then(
  () => true,
  () => false,
);

interface Place {
  readonly folder: Awaited<ReturnType<typeof temporaryFolder>>;
  readonly server: RunningServer;
  readonly me: Api;
  readonly project: string;
}

async function open(env: Readonly<Record<string, string>>): Promise<Place> {
  const folder = await temporaryFolder();
  const server = await startServer({ dataFolder: folder.path, env });
  const me = await Api.register(server.url);
  return { folder, server, me, project: await me.project({ allowedTypes: ['*/*'] }) };
}

async function close({ folder, server }: Place): Promise<void> {
  await server.stop();
  await folder.remove();
}

async function uploadTo({ me, project }: Place, name: string, bytes: Buffer): Promise<FileView> {
  const { status, body } = await me.upload(project, name, Buffer.from(bytes));
  expect(status).toBe(201);
  await until(`${name} is processed`, 30, async () => (await me.file(body.id)).status !== 'processing');
  return me.file(body.id);
}

async function bytesOf(url: string, range?: string): Promise<{ status: number; bytes: Buffer }> {
  const response = await fetch(url, range === undefined ? {} : { headers: { range } });
  return { status: response.status, bytes: Buffer.from(await response.arrayBuffer()) };
}

describe.skipIf(!hasFfmpeg)('a video, where there is ffmpeg (Debian: apt-get install ffmpeg)', () => {
  let place: Place;
  let film: Buffer;

  beforeAll(async () => {
    place = await open({});
    const path = join(place.folder.path, 'film.mp4');
    const source = ['-f', 'lavfi', '-i', 'testsrc=size=640x480:rate=10:duration=3'];
    await run('ffmpeg', ['-loglevel', 'error', ...source, '-c:v', 'libx264', '-pix_fmt', 'yuv420p', path]);
    film = await readFile(path);
  });
  afterAll(() => close(place));

  it('has the variants of a picture, and is served in whole and in parts as before', async () => {
    const file = await uploadTo(place, 'film.mp4', film);
    expect(file).toMatchObject({ status: 'ready', mimeType: 'video/mp4', width: 640, height: 480 });
    const { thumbnail, medium } = file.variants;
    expect(await look((await bytesOf(thumbnail?.url ?? '')).bytes)).toMatchObject({
      width: 200,
      height: 200,
    });
    expect(await look((await bytesOf(medium?.url ?? '')).bytes)).toMatchObject({ width: 640, height: 480 });
    expect(await bytesOf(file.url)).toEqual({ status: 200, bytes: film });
    expect(await bytesOf(file.url, 'bytes=100-199')).toEqual({ status: 206, bytes: film.subarray(100, 200) });
  });

  it('that is cut has failed, and its original stays', async () => {
    const cut = film.subarray(0, film.length / 2);
    const file = await uploadTo(place, 'cut.mp4', cut);
    expect(file.status).toBe('failed');
    expect(file.failure).toMatch(/^The film is damaged/);
    expect((await bytesOf(file.url)).bytes).toEqual(cut);
  });
});

describe('without ffmpeg, and with SVG drawn', () => {
  let place: Place;
  beforeAll(async () => {
    place = await open({ MBK_FFMPEG: 'off', MBK_SVG: 'rasterize' });
  });
  afterAll(() => close(place));

  it('a video is ready, and its variants say why they are not made', async () => {
    const webm = Buffer.concat([
      Buffer.from('1a45dfa39f4286810142f7810142f2810442f381084282847765626d42878104', 'hex'),
      Buffer.alloc(64),
    ]);
    const file = await uploadTo(place, 'film.webm', webm);
    expect(file).toMatchObject({ status: 'ready', mimeType: 'video/webm', width: null });
    expect(file.variants['thumbnail']).toMatchObject({ status: 'failed', failure: { code: 'no-ffmpeg' } });
    expect((await bytesOf(file.url)).bytes).toEqual(webm);
  });

  it('a drawing has variants larger than itself, and is served as an attachment', async () => {
    const svg =
      '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30" fill="white"/></svg>';
    const file = await uploadTo(place, 'icon.svg', Buffer.from(svg));
    expect(file).toMatchObject({ status: 'ready', mimeType: 'image/svg+xml', width: 40, height: 30 });
    const { bytes } = await bytesOf(file.variants['medium']?.url ?? '');
    expect(await look(bytes)).toMatchObject({ width: 800, height: 600 });
    expect((await fetch(file.url)).headers.get('content-disposition')).toMatch(/^attachment/);
  });
});
