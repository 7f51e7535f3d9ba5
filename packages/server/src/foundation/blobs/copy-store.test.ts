import { createHash } from 'node:crypto';
import { readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StoreFull, StoreUnavailable, type BlobStore } from './blob-store.js';
import { pattern } from './contract.suite.js';
import type { ExpectedBlob } from './copy-blob.js';
import { openCopyState, type VerifiedSpan } from './copy-state.js';
import {
  copyStore,
  type BlobLedger,
  type CopyFailure,
  type CopyOptions,
  type CopyResult,
  type Outcome,
} from './copy-store.js';
import { openDiskStore } from './disk.js';
import { makeBlobFolder, type BlobFolder } from './disk.suite.js';
import { compareKeys } from './keys.js';

interface Ran {
  readonly result: CopyResult;
  readonly failures: readonly CopyFailure[];
  readonly extras: readonly string[];
  readonly spans: readonly VerifiedSpan[];
}

describe('a copy of a store', () => {
  let folders: { from: BlobFolder; to: BlobFolder };
  let from: BlobStore;
  let to: BlobStore;
  beforeEach(async () => {
    folders = { from: await makeBlobFolder(), to: await makeBlobFolder() };
    from = await openDiskStore({ folder: folders.from.path });
    to = await openDiskStore({ folder: folders.to.path });
  });
  afterEach(async () => {
    await from.close();
    await to.close();
    await folders.from.remove();
    await folders.to.remove();
  });

  const run = async (options: Partial<CopyOptions> = {}): Promise<Ran> => {
    const failures: CopyFailure[] = [];
    const extras: string[] = [];
    const spans: VerifiedSpan[] = [];
    const result = await copyStore({
      from,
      to,
      ledger: undefined,
      parallel: 3,
      verified: [],
      retryWaits: [10, 20, 40],
      signal: new AbortController().signal,
      onFailure: (failure) => failures.push(failure),
      onExtra: ({ key }) => extras.push(key),
      onVerified: (span) => spans.push(span),
      ...options,
    });
    return { result, failures, extras, spans };
  };
  const counts = ({ result }: Ran): Partial<Record<Outcome, number>> =>
    Object.fromEntries(
      Object.entries(result.outcomes).flatMap(([name, { blobs }]) => (blobs > 0 ? [[name, blobs]] : [])),
    );
  const bytesOf = async (store: BlobStore, key: string): Promise<Buffer> =>
    buffer((await store.get(key)).body);
  const sizes = [0, 1, 70_000, 300_000, 1_500_000];
  const keys = sizes.map((_size, index) => `p/files/${index}.bin`);
  const fill = async (): Promise<void> => {
    for (const [index, size] of sizes.entries()) await from.put(keys[index] ?? '', pattern(size));
  };
  const rowOf = (key: string, bytes: Buffer): ExpectedBlob => ({
    key,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest(),
  });
  const ledgerOf = (rows: ExpectedBlob[]): BlobLedger => ({
    list: () => Readable.from([...rows].sort((a, b) => compareKeys(a.key, b.key))),
    find: (key) => Promise.resolve(rows.find((row) => row.key === key)),
    total: () => Promise.resolve({ blobs: rows.length, bytes: 0 }),
  });
  const ledger = (): BlobLedger =>
    ledgerOf(sizes.map((size, index) => rowOf(keys[index] ?? '', pattern(size))));

  it('has every blob, whatever its size, and nothing that the store keeps for itself', async () => {
    await fill();
    await from.put('.staging/0190', Buffer.from('half an upload'));
    await from.put('.mediablobkit/probes/1', Buffer.from('probe'));
    const ran = await run();
    expect(counts(ran)).toEqual({ copied: sizes.length });
    expect(ran.result).toMatchObject({ interrupted: false, moved: 1_870_001 });
    expect(ran.result.total).toEqual({ blobs: sizes.length, bytes: 1_870_001 });
    for (const [index, size] of sizes.entries()) {
      expect((await bytesOf(to, keys[index] ?? '')).equals(pattern(size))).toBe(true);
    }
    expect(await to.stat('.staging/0190')).toBeUndefined();
    expect(await to.stat('.mediablobkit/probes/1')).toBeUndefined();
    expect(await folders.to.temporaries()).toEqual([]);
  });

  it.each(['with', 'without'])('finds what is there already by reading it, %s a ledger', async (how) => {
    await fill();
    const options = how === 'with' ? { ledger: ledger() } : {};
    expect(counts(await run(options))).toEqual({ copied: sizes.length });
    const again = await run(options);
    expect(counts(again)).toEqual({ verified: sizes.length });
    expect(again.result.moved).toBe(0);
  });

  it.each(['with', 'without'])('puts a copy right that was altered since, %s a ledger', async (how) => {
    await fill();
    const options = how === 'with' ? { ledger: ledger() } : {};
    await run(options);
    const flipped = pattern(70_000);
    flipped[35_000] = 255 - (flipped[35_000] ?? 0);
    await writeFile(join(folders.to.path, keys[2] ?? ''), flipped);
    await truncate(join(folders.to.path, keys[3] ?? ''), 299_999);
    const ran = await run(options);
    expect(counts(ran)).toEqual({ copied: 2, verified: 3 });
    expect((await bytesOf(to, keys[2] ?? '')).equals(pattern(70_000))).toBe(true);
  });

  it('never makes a copy of bytes that are not those of the row', async () => {
    await fill();
    const path = join(folders.from.path, keys[4] ?? '');
    const flipped = await readFile(path);
    flipped[flipped.length - 1] = 255 - (flipped.at(-1) ?? 0);
    await writeFile(path, flipped);
    await truncate(join(folders.from.path, keys[2] ?? ''), 10);
    const ran = await run({ ledger: ledger() });
    expect(counts(ran)).toEqual({ copied: 3, failure: 2 });
    expect(ran.failures.map(({ key, kind }) => [key, kind])).toEqual([
      [keys[2], 'altered'],
      [keys[4], 'altered'],
    ]);
    expect(await to.stat(keys[2] ?? '')).toBeUndefined();
    expect(await to.stat(keys[4] ?? '')).toBeUndefined();
    expect(await folders.to.temporaries()).toEqual([]);
  });

  it('names what the rows want and no store has; what is deleted meanwhile is no failure', async () => {
    await fill();
    const rows = sizes.map((size, index) => rowOf(keys[index] ?? '', pattern(size)));
    const lost = rowOf('p/files/lost.bin', Buffer.from('lost'));
    const late = rowOf('p/files/late.bin', Buffer.from('late'));
    const held = ledgerOf([...rows, lost, late]);
    // Deleted between the page of rows and now; and a blob that the listing passed before it was there.
    const ran = await run({
      ledger: { ...held, find: async (key) => (key === late.key ? undefined : held.find(key)) },
      from: {
        ...from,
        async *list(listing) {
          for await (const blob of from.list(listing)) if (blob.key !== keys[0]) yield blob;
        },
      },
    });
    expect(counts(ran)).toEqual({ copied: sizes.length, vanished: 1, failure: 1 });
    expect(ran.failures).toEqual([{ key: lost.key, kind: 'missing', reason: expect.any(String) }]);

    await from.put('p/files/going.bin', Buffer.from('going'));
    const gone = await run({
      from: {
        ...from,
        get: async (key, options) => {
          if (key.includes('going')) await from.delete(key);
          return from.get(key, options);
        },
      },
    });
    expect(counts(gone)).toEqual({ verified: sizes.length, vanished: 1 });
  });

  it('leaves alone what only the target has, and says so', async () => {
    await fill();
    await to.put('p/files/9.bin', Buffer.from('deleted in the source since'));
    const ran = await run({ ledger: ledger() });
    expect(counts(ran)).toEqual({ copied: sizes.length, extra: 1 });
    expect(ran.extras).toEqual(['p/files/9.bin']);
    expect(await to.stat('p/files/9.bin')).toBeDefined();
  });

  it('does not read again what an earlier run has read, unless it became younger', async () => {
    await fill();
    await run();
    for (const key of keys) await utimes(join(folders.to.path, key), 1_000_000, 1_000_000);
    const { spans } = await run();
    const end = spans.at(-1);
    expect(end).toEqual({ through: null, modifiedUpTo: 1_000_000_000 });
    const verified = [{ through: null, modifiedUpTo: 1_000_002_000 }];
    await writeFile(join(folders.to.path, keys[1] ?? ''), 'x');
    await rm(join(folders.to.path, keys[3] ?? ''));
    await from.put('p/files/8.bin', Buffer.from('new'));
    expect(counts(await run({ verified }))).toEqual({ known: 3, copied: 3 });

    const part = [{ through: keys[2] ?? '', modifiedUpTo: 1_000_002_000 }];
    expect(counts(await run({ verified: part }))).toEqual({ known: 2, verified: 4 });
  });

  it('counts nothing as read behind a blob that may be wrong in the target', async () => {
    await fill();
    const broken: BlobStore = {
      ...to,
      put: async (key, body, options) => {
        if (key !== keys[1]) return to.put(key, body, options);
        if (!Buffer.isBuffer(body)) body.destroy();
        throw new StoreFullOnce('this blob is never taken', key);
      },
    };
    const ran = await run({ to: broken, parallel: 1 });
    expect(counts(ran)).toEqual({ copied: sizes.length - 1, failure: 1 });
    expect(ran.spans.map(({ through }) => through)).toEqual([keys[0]]);
  });

  it('removes a copy that reads back wrong', async () => {
    await fill();
    let puts = 0;
    const lying: BlobStore = {
      ...to,
      put: async (key, body, options) => {
        if (key !== keys[1]) return to.put(key, body, options);
        puts += 1;
        const read = Buffer.isBuffer(body) ? body : await buffer(body);
        // The first try is stored wrong, the second right.
        return to.put(key, puts === 1 ? Buffer.alloc(read.length, 7) : read, options);
      },
    };
    expect(counts(await run({ to: lying }))).toEqual({ copied: sizes.length });
    expect(puts).toBe(2);
    expect((await bytesOf(to, keys[1] ?? '')).equals(pattern(1))).toBe(true);
  });

  it('rides out a store that fails for a moment, in the middle of a listing too', async () => {
    await fill();
    let failures = 0;
    const shaky: BlobStore = {
      ...from,
      async *list(listing) {
        for await (const blob of from.list(listing)) {
          if (blob.key === keys[3] && failures++ === 0) throw new StoreUnavailable('not now', blob.key);
          yield blob;
        }
      },
      get: async (key, options) => {
        if (key === keys[2] && failures++ === 1) throw new StoreUnavailable('not now', key);
        return from.get(key, options);
      },
    };
    expect(counts(await run({ from: shaky }))).toEqual({ copied: sizes.length });
  });

  it('ends when the target is full', async () => {
    await fill();
    const full: BlobStore = {
      ...to,
      put: (key, body) => {
        if (!Buffer.isBuffer(body)) body.destroy();
        return Promise.reject(new StoreFull('no space is left', key));
      },
    };
    await expect(run({ to: full })).rejects.toBeInstanceOf(StoreFull);
  });

  it('stops where it is when it is told to, and leaves nothing half', async () => {
    await fill();
    const interrupt = new AbortController();
    const slow: BlobStore = {
      ...from,
      get: async (key, options) => {
        if (key === keys[4]) interrupt.abort();
        return from.get(key, options);
      },
    };
    const ran = await run({ from: slow, signal: interrupt.signal, parallel: 1 });
    expect(ran.result.interrupted).toBe(true);
    expect(await to.stat(keys[4] ?? '')).toBeUndefined();
    expect(ran.failures).toEqual([]);
    expect(await folders.to.temporaries()).toEqual([]);
    expect(counts(await run())).toEqual({ verified: 4, copied: 1 });
  });
});

/** A refusal that is about one blob. */
class StoreFullOnce extends StoreUnavailable {}

describe('the memory of a copy', () => {
  let folder: BlobFolder;
  beforeEach(async () => {
    folder = await makeBlobFolder();
  });
  afterEach(() => folder.remove());

  it('keeps what is verified between runs', async () => {
    const path = join(folder.path, 'copies', 'a.json');
    const first = await openCopyState(path);
    expect(first.earlier).toEqual([]);
    first.note({ through: 'a', modifiedUpTo: 5 });
    first.note({ through: 'b', modifiedUpTo: 6 });
    await first.close();

    const second = await openCopyState(path);
    expect(second.earlier).toEqual([{ through: 'b', modifiedUpTo: 6 }]);
    second.note({ through: null, modifiedUpTo: 9 });
    await second.close();

    const third = await openCopyState(path);
    third.note({ through: 'a', modifiedUpTo: 12 });
    await third.close();
    expect((await openCopyState(path)).earlier).toEqual([
      { through: null, modifiedUpTo: 9 },
      { through: 'a', modifiedUpTo: 12 },
    ]);
  });

  it.each(['', '{"verified":', '[]', 'null', '{"verified":[{"through":1}]}'])(
    'forgets what is no memory: %s',
    async (content) => {
      const path = join(folder.path, 'a.json');
      await writeFile(path, content);
      expect((await openCopyState(path)).earlier).toEqual([]);
    },
  );
});
