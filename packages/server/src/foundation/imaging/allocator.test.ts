import { existsSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { photo } from '../../../test/fixtures/pictures.js';
import { chooseAllocator, fewArenas } from './allocator.js';
import { createImaging } from './pool.js';

const installed = ['x86_64', 'aarch64']
  .map((machine) => `/usr/lib/${machine}-linux-gnu/libjemalloc.so.2`)
  .find((path) => existsSync(path));
let folder: string;
let lines: { msg: string; library?: string }[];
const log = pino(
  { level: 'info' },
  { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[0]) },
);

beforeEach(async () => {
  lines = [];
  folder = await mkdtemp(join(tmpdir(), 'allocator-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

test('without jemalloc the C library’s own is used, with few arenas', async () => {
  expect(await chooseAllocator(log, [join(folder, 'libjemalloc.so.2')])).toEqual(fewArenas);
  expect(lines).toMatchObject([{ msg: 'decoders use the allocator of the C library' }]);
});

describe.runIf(process.platform === 'linux')('a library is passed over', () => {
  test.each([
    ['of no known format', (path: string) => writeFile(path, 'no library')],
    ['of another architecture', writeForeignLibrary],
  ])('%s', async (_, write) => {
    const path = join(folder, 'libjemalloc.so.2');
    await write(path);
    await isPassedOver(path);
  });

  test('that loads, and is something else', () => isPassedOver(process.execPath));
});

async function isPassedOver(library: string): Promise<void> {
  expect(await chooseAllocator(log, [library])).toEqual(fewArenas);
  expect(lines).toMatchObject([
    { msg: 'jemalloc is here but does not work', library },
    { msg: 'decoders use the allocator of the C library' },
  ]);
}

async function writeForeignLibrary(path: string): Promise<void> {
  const program = await open(process.execPath);
  const header = Buffer.alloc(4096);
  await program.read(header);
  await program.close();
  header.writeUInt16LE(0xf3, 18); // e_machine: RISC-V
  await writeFile(path, header);
}

describe('jemalloc', () => {
  if (installed === undefined) {
    test.skip('needs libjemalloc.so.2 (Debian: apt-get install libjemalloc2)', () => undefined);
    return;
  }

  test('is found where the distribution puts it', async () => {
    expect(await chooseAllocator(log)).toMatchObject({ LD_PRELOAD: installed });
    expect(lines).toMatchObject([{ msg: 'decoders use jemalloc', library: installed }]);
  });

  test('is in the decoders, which render as ever', async () => {
    const imaging = createImaging({
      log,
      size: 1,
      memoryLimitBytes: 2 ** 29,
      wallClockMs: 10_000,
      childEntry: await decoderEntry(),
      allocator: await chooseAllocator(log, [installed]),
    });
    try {
      const path = join(folder, 'photo.jpg');
      await writeFile(path, await photo({ width: 60, height: 40 }));
      const recipes = [{ name: 'one', recipe: { width: 30, fit: 'inside', format: 'webp' } as const }];
      const { images } = await imaging.render({ path, recipes, outputFolder: folder });
      expect(images).toMatchObject([{ width: 30, height: 20 }]);
    } finally {
      await imaging.close();
    }
  });
});
