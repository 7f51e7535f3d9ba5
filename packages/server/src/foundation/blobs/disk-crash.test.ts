import { build } from 'esbuild';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
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

/**
 * Four lanes of puts in three parts each. Part n of upload k has bytes that follow from both; told are each part that
 * was acknowledged, and each completion.
 */
const partsWriter = `
import { openDiskStore } from './disk.mjs';
const store = await openDiskStore({ folder: process.argv[2] });
const tell = (...words) => process.stdout.write(words.join(' ') + '\\n');
let count = Number(process.argv[3]);
async function lane() {
  for (;;) {
    const k = count++;
    const key = 'm/' + k;
    const id = await store.multipart.begin(key);
    const parts = [];
    for (const n of [2, 1, 3]) {
      const bytes = Buffer.alloc(1 + ((k * 7919 + n) % 400000), (k + n) % 251);
      parts.push(await store.multipart.put(key, id, n, bytes));
      tell('part', key, id, n, bytes.length);
    }
    await store.multipart.complete(key, id, parts.sort((a, b) => a.number - b.number));
    tell('whole', key);
  }
}
await Promise.all([lane(), lane(), lane(), lane()]);
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
    await writeFile(join(programs.path, 'parts-writer.mjs'), partsWriter);
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
      for (const key of await killAfter('writer.mjs', 1 + Math.floor(random() * 12))) acknowledged.add(key);
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

  it('killed at any moment, keeps every part that was acknowledged, and goes on where it was', async () => {
    const random = seeded(20_261_126);
    let [unfinished, completed, next] = [0, 0, 0];
    for (let round = 0; round < 8; round++) {
      const told = await killAfter('parts-writer.mjs', 1 + Math.floor(random() * 16), next);
      next += 1_000;
      const store = await openDiskStore({ folder: folder.path });
      expect(await folder.temporaries()).toEqual([]);
      const waiting = new Map<string, string>();
      for await (const { key, uploadId } of store.multipart.list('m/')) waiting.set(key, uploadId);
      for (const [what, key = '', id = '', number, size] of told.map((line) => line.split(' '))) {
        const blob = await store.stat(key);
        if (what === 'whole') expect(blob, key).toBeDefined();
        if (what === 'whole' || blob) continue;
        expect(waiting.get(key)).toBe(id);
        const parts = await store.multipart.parts(key, id);
        expect(parts).toContainEqual({
          number: Number(number),
          size: Number(size),
          etag: expect.any(String),
        });
      }
      // What was cut off is completed: of all three parts, or, when the blob is there already, once more.
      for (const [key, id] of waiting) {
        const parts = await store.multipart.parts(key, id);
        unfinished += 1;
        if (parts.length === 3) await store.multipart.complete(key, id, parts);
        else await store.multipart.abort(key, id);
      }
      for await (const { key } of store.list({ prefix: 'm/' })) {
        completed += 1;
        expect((await buffer((await store.get(key)).body)).equals(wholeOf(Number(key.slice(2)))), key).toBe(
          true,
        );
        await store.delete(key);
      }
      // An upload whose beginning was cut off, too.
      await store.removeStaleTemporaries(-1_000);
      expect(await readdir(join(folder.path, '.multipart'))).toEqual([]);
    }
    // Proof that the deaths came in the middle of puts.
    expect(unfinished).toBeGreaterThan(8);
    expect(completed).toBeGreaterThan(8);
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

  /** Starts a program, kills it once it has told so many lines, and returns all that it told by the end. */
  async function killAfter(program: string, lines: number, from = 0): Promise<readonly string[]> {
    const child = spawn(process.execPath, [join(programs.path, program), folder.path, String(from)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    const told: string[] = [];
    for await (const key of createInterface({ input: child.stdout })) {
      told.push(key);
      if (told.length === lines) child.kill('SIGKILL');
    }
    expect(await ended).toEqual([null, 'SIGKILL']);
    return told;
  }
});

/** What the parts of upload k make. */
function wholeOf(k: number): Buffer {
  return Buffer.concat([1, 2, 3].map((n) => Buffer.alloc(1 + ((k * 7919 + n) % 400_000), (k + n) % 251)));
}

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
