import { build } from 'esbuild';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDiskStore } from './disk.js';
import { makeBlobFolder, type BlobFolder } from './disk.suite.js';

/**
 * What the killed process does: four lanes of puts, one stream and one buffer in turn, without end. The first
 * byte of a blob says what all the others are, the next four how many there are. It tells each put that was
 * acknowledged.
 */
const writer = `
import { openDiskStore } from './disk.mjs';
import { Readable } from 'node:stream';
const store = await openDiskStore({ folder: process.argv[2] });
let count = 0;
async function lane(name) {
  for (;;) {
    const size = 5 + ((count * 7919) % 3000000);
    const bytes = Buffer.alloc(size, (count += 1) % 251);
    bytes.writeUInt32LE(size, 1);
    const body = count % 2 ? bytes : Readable.from(pieces(bytes));
    const key = 'p' + (count % 3) + '/' + name + '/' + (count % 5);
    await store.put(key, body);
    process.stdout.write(key + '\\n');
  }
}
async function* pieces(bytes) {
  for (let at = 0; at < bytes.length; at += 65536) yield bytes.subarray(at, at + 65536);
}
await Promise.all(['a', 'b', 'c', 'd'].map(lane));
`;

/** Opens files until no descriptor is left, tells what the store makes of it, and tries again with room. */
const starved = `
import { openDiskStore } from './disk.mjs';
import { openSync, closeSync } from 'node:fs';
const store = await openDiskStore({ folder: process.argv[2] });
await store.put('a', Buffer.from('x'));
const open = [];
try { for (;;) open.push(openSync('/dev/null')); } catch {}
const failures = {};
for (const [name, call] of Object.entries({
  put: () => store.put('b', Buffer.from('y')),
  get: () => store.get('a'),
  list: () => store.list({ prefix: '' })[Symbol.asyncIterator]().next(),
  check: () => store.check(),
})) await call().catch((error) => (failures[name] = error.name + ' ' + error.cause?.code));
for (const descriptor of open) closeSync(descriptor);
await store.check();
console.log(JSON.stringify(failures));
`;

describe('a disk store in a process of its own', () => {
  let programs: BlobFolder;
  let folder: BlobFolder;
  beforeAll(async () => {
    programs = await makeBlobFolder();
    folder = await makeBlobFolder();
    await build({
      entryPoints: [fileURLToPath(new URL('./disk.ts', import.meta.url))],
      outfile: join(programs.path, 'disk.mjs'),
      bundle: true,
      format: 'esm',
      platform: 'node',
    });
    await writeFile(join(programs.path, 'writer.mjs'), writer);
    await writeFile(join(programs.path, 'starved.mjs'), starved);
  });
  afterAll(async () => {
    await programs.remove();
    await folder.remove();
  });

  it('killed at any moment, holds whole blobs only, and unfinished files go when it is opened again', async () => {
    const acknowledged = new Set<string>();
    let unfinished = 0;
    // After how many acknowledged puts the process dies; from a fixed seed, so that every run is the same.
    const random = seeded(20_261_124);
    for (let round = 0; round < 8; round++) {
      for (const key of await killAfter(1 + Math.floor(random() * 12))) acknowledged.add(key);
      unfinished += (await folder.temporaries()).length;
      const store = await openDiskStore({ folder: folder.path });
      expect(await folder.temporaries()).toEqual([]);
      const found = new Set<string>();
      for await (const { key, size } of store.list({ prefix: '' })) {
        const bytes = await buffer((await store.get(key)).body);
        expect(bytes.readUInt32LE(1), key).toBe(size);
        const fill = bytes[0] ?? 0;
        expect(bytes.subarray(5).equals(Buffer.alloc(size - 5, fill)), key).toBe(true);
        found.add(key);
      }
      expect([...acknowledged].filter((key) => !found.has(key))).toEqual([]);
    }
    // Proof that the deaths came in the middle of puts.
    expect(unfinished).toBeGreaterThan(0);
    expect(acknowledged.size).toBeGreaterThan(8);
  });

  it('without a free descriptor, is unavailable, and works again once there is one', async () => {
    const own = await makeBlobFolder();
    try {
      const script = 'ulimit -n 64 && exec "$0" "$1" "$2"';
      const { stdout } = await promisify(execFile)('sh', [
        ...['-c', script, process.execPath, join(programs.path, 'starved.mjs'), own.path],
      ]);
      const refusal = 'StoreUnavailable EMFILE';
      expect(JSON.parse(stdout)).toEqual({ put: refusal, get: refusal, list: refusal, check: refusal });
      expect(await own.temporaries()).toEqual([]);
    } finally {
      await own.remove();
    }
  });

  /** Starts the writer, kills it once it has told of so many puts, and returns the keys it told of by the end. */
  async function killAfter(puts: number): Promise<readonly string[]> {
    const child = spawn(process.execPath, [join(programs.path, 'writer.mjs'), folder.path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    const told: string[] = [];
    for await (const key of createInterface({ input: child.stdout })) {
      told.push(key);
      if (told.length === puts) child.kill('SIGKILL');
    }
    expect(await ended).toEqual([null, 'SIGKILL']);
    return told;
  }
});

/** Numbers from 0 up to 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
