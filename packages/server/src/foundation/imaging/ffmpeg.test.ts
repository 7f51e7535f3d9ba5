import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { findFfmpeg } from './ffmpeg.js';
import { createPosters } from './poster.js';

let folder: string;
let lines: { msg: string; level: number }[];
const log = pino(
  { level: 'info' },
  { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[0]) },
);

beforeEach(async () => {
  lines = [];
  folder = await mkdtemp(join(tmpdir(), 'ffmpeg-test-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

/** A program that does something else than ffmpeg, under its name. */
async function pretend(script: string): Promise<string> {
  const path = join(folder, 'ffmpeg');
  await writeFile(path, `#!${process.execPath}\n${script}\n`, { mode: 0o755 });
  return path;
}

describe('ffmpeg is looked for', () => {
  const find = (wanted: string, folders: readonly string[] = []) => findFfmpeg({ wanted, folders, log });

  test('in the folders of programs, or where it is said to be', async () => {
    const path = await pretend('console.log("ffmpeg version 9");');
    expect(await find('auto', ['relative', join(folder, 'absent'), folder])).toBe(path);
    expect(await find(path)).toBe(path);
    expect(lines[0]).toMatchObject({ ffmpeg: path, version: 'ffmpeg version 9' });
  });

  test('and not used when it is not there, does not run or is not wanted', async () => {
    expect(await find('auto', [folder])).toBeUndefined();
    expect(lines).toMatchObject([{ level: 30, msg: 'there is no ffmpeg: films are kept without pictures' }]);
    const broken = await pretend('process.exit(127);');
    expect(await find('off', [folder])).toBeUndefined();
    expect(await find('auto', [folder])).toBeUndefined();
    expect(await find(broken)).toBeUndefined();
    expect(await find(join(folder, 'absent'))).toBeUndefined();
    expect(lines.at(-1)).toMatchObject({
      level: 50,
      msg: 'ffmpeg cannot be used: films are kept without pictures',
    });
  });
});

describe('a program that misbehaves', () => {
  const take = async (script: string, limits = {}, signal = new AbortController().signal) => {
    const posters = createPosters({
      ffmpeg: await pretend(script),
      parallel: 1,
      memoryLimitBytes: 2 ** 30,
      wallClockMs: 10_000,
      maxPixels: 50_000_000,
      ...limits,
    });
    return posters.take({ path: join(folder, 'original'), mimeType: 'video/mp4', folder, signal });
  };

  test('is killed at the wall clock, which counts for all it is asked together', async () => {
    const wait = 'setTimeout(() => process.exit(1), 400);';
    for (const script of ['setInterval(() => 0, 1000);', 'for (;;);', wait]) {
      await expect(take(script, { wallClockMs: 1000 })).rejects.toMatchObject({
        code: 'decoder-timeout',
        message: 'The film took longer than 1 s and was stopped.',
        permanent: false,
      });
    }
  });

  test('is killed at the ceiling of memory', async () => {
    const hog = 'const held = []; setInterval(() => held.push(Buffer.alloc(20_000_000, 1)), 5);';
    await expect(take(hog, { memoryLimitBytes: 200 * 2 ** 20 })).rejects.toMatchObject({
      code: 'decoder-memory',
      message: 'The film took more than 209715200 bytes of memory and was stopped.',
    });
  });

  test('and gives up a search by its own clock, leaves time for the next one', async () => {
    const script = `
      const searches = ['-skip_frame', '-t'].some((option) => process.argv.includes(option));
      if (searches) process.exit(255);
      require('node:fs').writeFileSync(process.argv.at(-1).slice('file:'.length), 'a picture');`;
    expect(await readFile(await take(script), 'utf8')).toBe('a picture');
  });

  test('is told from a broken film when it crashes or is not there', async () => {
    await expect(take('process.kill(process.pid, "SIGSEGV");')).rejects.toMatchObject({
      code: 'decoder-crashed',
      message: 'ffmpeg ended by SIGSEGV.',
    });
    const posters = createPosters({
      ffmpeg: join(folder, 'absent'),
      parallel: 1,
      memoryLimitBytes: 2 ** 30,
      wallClockMs: 1000,
      maxPixels: 1,
    });
    const request = { path: 'x', mimeType: 'video/mp4', folder, signal: new AbortController().signal };
    await expect(posters.take(request)).rejects.toMatchObject({ code: 'decoder-crashed' });
  });

  test('is killed when the caller gives up', async () => {
    const caller = new AbortController();
    const started = join(folder, 'started');
    const film = take(
      `require('node:fs').writeFileSync(${JSON.stringify(started)}, ''); setInterval(() => 0, 1000);`,
      {},
      caller.signal,
    );
    await vi.waitFor(async () => expect(await readdir(folder)).toContain('started'), { timeout: 5000 });
    caller.abort(new Error('gone'));
    await expect(film).rejects.toMatchObject({ code: 'aborted', cause: { message: 'gone' } });
    await expect(take('', {}, caller.signal)).rejects.toMatchObject({ code: 'aborted' });
  });

  test('complains in a sentence without paths and addresses', async () => {
    const script = `console.error('[mov,mp4 @ 0x55aa] header\\nfile:${folder}/original: Invalid \\u0007data'); process.exit(1);`;
    await expect(take(script)).rejects.toMatchObject({
      code: 'corrupt-image',
      message: 'The film is damaged: original: Invalid ?data',
    });
  });
});

test('ffmpeg is told nothing of the environment, gets no input, and yields to everybody', async () => {
  vi.stubEnv('MBK_JWT_SECRET', 'a secret that nobody may read');
  const report = `
    const fs = require('node:fs');
    const { getPriority } = require('node:os');
    const input = fs.readFileSync(0, 'utf8');
    const said = { env: Object.keys(process.env), priority: getPriority(), args: process.argv.slice(2), input };
    fs.writeFileSync(process.argv.at(-1).slice('file:'.length), JSON.stringify(said));`;
  const posters = createPosters({
    ffmpeg: await pretend(report),
    parallel: 1,
    memoryLimitBytes: 2 ** 30,
    wallClockMs: 10_000,
    maxPixels: 50_000_000,
  });
  const request = { path: '/films/-i', folder, signal: new AbortController().signal };
  const path = await posters.take({ ...request, mimeType: 'video/webm' });
  const said = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown> & { args: string[] };
  expect(said).toMatchObject({ env: [], priority: 10, input: '' });
  const after = (name: string) => said.args[said.args.indexOf(name) + 1];
  expect(after('-protocol_whitelist')).toBe('file,pipe');
  expect(after('-format_whitelist')).toBe('matroska');
  expect(after('-f')).toBe('matroska');
  expect(after('-max_alloc')).toBe(String(2 ** 30));
  expect(after('-timelimit')).toBe('5');
  expect(after('-i')).toBe('file:/films/-i');
  await expect(posters.take({ ...request, mimeType: 'application/vnd.apple.mpegurl' })).rejects.toMatchObject(
    { code: 'unsupported-codec' },
  );
});
