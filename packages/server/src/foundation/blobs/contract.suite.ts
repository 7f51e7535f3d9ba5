import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  BlobLengthMismatch,
  BlobMissing,
  BlobTruncated,
  InvalidKey,
  type BlobStat,
  type BlobStore,
} from './blob-store.js';

export interface ContractOptions {
  /** Milliseconds that one test may take. */
  readonly timeout?: number;
  /** True when the store signs URLs that a plain HTTP client can fetch. */
  readonly presigns: boolean;
}

/** A store that is empty at first, and what has to happen once its tests are over. */
export interface OpenedStore {
  readonly store: BlobStore;
  close(): Promise<void>;
}

/**
 * What every blob store must do, as vitest tests. Each test works below a prefix of its own, so that one store
 * serves all of them.
 */
export function blobStoreContract(
  name: string,
  openStore: () => Promise<OpenedStore>,
  { timeout = 10_000, presigns }: ContractOptions,
): void {
  describe(`a blob store: ${name}`, { timeout }, () => {
    let opened: OpenedStore;
    let store: BlobStore;
    let tests = 0;
    /** A new key prefix, ending in a slash. */
    const place = (): string => `contract/${(tests += 1)}/`;

    beforeAll(async () => {
      opened = await openStore();
      store = opened.store;
    }, timeout);
    afterAll(() => opened.close(), timeout);

    const read = async (key: string, range?: { start: number; end: number }): Promise<Buffer> =>
      buffer((await store.get(key, range ? { range } : {})).body);
    const listed = async (prefix: string, after?: string): Promise<BlobStat[]> => {
      const found: BlobStat[] = [];
      for await (const blob of store.list(after === undefined ? { prefix } : { prefix, after }))
        found.push(blob);
      return found;
    };
    const keysOf = (blobs: readonly BlobStat[]): string[] => blobs.map(({ key }) => key);
    const putAll = async (keys: readonly string[], body: Buffer): Promise<void> => {
      const queue = keys.values();
      const lanes = Array.from({ length: 32 }, async () => {
        for (const key of queue) await store.put(key, body, { size: body.length });
      });
      await Promise.all(lanes);
    };

    describe('put and get', () => {
      it('returns the bytes that were put, with their size and time', async () => {
        const key = `${place()}a.bin`;
        const bytes = pattern(70_000);
        const before = Date.now();
        expect(await store.put(key, bytes, { contentType: 'image/webp' })).toEqual({ size: 70_000 });
        const blob = await store.get(key);
        expectSame(await buffer(blob.body), bytes);
        expect(blob).toMatchObject({ key, size: 70_000 });
        // Stores keep whole seconds, and one of them rounds up.
        expect(Math.abs(blob.lastModified.getTime() - before)).toBeLessThan(60_000);
      });

      it('keeps an empty blob', async () => {
        const at = place();
        await store.put(`${at}buffer`, Buffer.alloc(0), { size: 0 });
        await store.put(`${at}stream`, Readable.from([]));
        for (const key of [`${at}buffer`, `${at}stream`]) {
          expect(await store.stat(key)).toMatchObject({ key, size: 0 });
          expect(await read(key)).toHaveLength(0);
        }
      });

      it('takes a stream of known and of unknown length', async () => {
        const at = place();
        const bytes = pattern(300_001);
        expect(await store.put(`${at}known`, inChunks(bytes, 1_000), { size: bytes.length })).toEqual({
          size: 300_001,
        });
        expect(await store.put(`${at}unknown`, inChunks(bytes, 65_536))).toEqual({ size: 300_001 });
        expectSame(await read(`${at}known`), bytes);
        expectSame(await read(`${at}unknown`), bytes);
      });

      it('takes a body in one chunk that is larger than any batch', async () => {
        const key = `${place()}one-chunk`;
        const bytes = pattern(19 * 1024 * 1024 + 7);
        await store.put(key, Readable.from([bytes], { objectMode: true }));
        expectSame(await read(key), bytes);
      });

      it.each([
        ['known', 20 * 1024 * 1024],
        ['unknown', undefined],
      ])('streams 20 MiB of %s length', async (_length, size) => {
        const key = `${place()}large`;
        const bytes = pattern(20 * 1024 * 1024);
        await store.put(key, inChunks(bytes, 65_536), size === undefined ? {} : { size });
        const blob = await store.get(key);
        expect(blob.size).toBe(bytes.length);
        expectSame(await buffer(blob.body), bytes);
      });

      it('takes a body that ends exactly where a batch ends', async () => {
        const at = place();
        for (const mebibytes of [1, 8, 16]) {
          const bytes = pattern(mebibytes * 1024 * 1024);
          await store.put(`${at}${mebibytes}`, inChunks(bytes, 65_536));
          expectSame(await read(`${at}${mebibytes}`), bytes);
        }
      });

      it('waits for a source that is slower than the store', async () => {
        const key = `${place()}slow`;
        const bytes = pattern(500_000);
        const slow = async function* (): AsyncGenerator<Buffer> {
          for (let at = 0; at < bytes.length; at += 50_000) {
            for (let turns = 0; turns < 20; turns++) await turn();
            yield bytes.subarray(at, at + 50_000);
          }
        };
        await store.put(key, Readable.from(slow()), { size: bytes.length });
        expectSame(await read(key), bytes);
      });

      it('delivers to a reader that is slower than the store', async () => {
        const key = `${place()}slow-reader`;
        const bytes = pattern(6 * 1024 * 1024);
        await store.put(key, bytes);
        const chunks: Buffer[] = [];
        for await (const chunk of (await store.get(key)).body) {
          for (let turns = 0; turns < 5; turns++) await turn();
          chunks.push(chunk as Buffer);
        }
        expectSame(Buffer.concat(chunks), bytes);
      });

      it('replaces what was there', async () => {
        const key = `${place()}replaced`;
        await store.put(key, pattern(5_000));
        await store.put(key, Buffer.from('short'));
        expect((await read(key)).toString()).toBe('short');
        expect(await store.stat(key)).toMatchObject({ size: 5 });
      });

      it('keeps one whole body when several are put under one key at once', async () => {
        const key = `${place()}raced`;
        const bodies = [1, 2, 3, 4, 5, 6].map((value) => Buffer.alloc(400_000 + value, value));
        await Promise.all(bodies.map((body) => store.put(key, inChunks(body, 65_536))));
        const winner = await read(key);
        expect(bodies.some((body) => body.equals(winner))).toBe(true);
      });

      it('shows a reader one whole version while the blob is replaced', async () => {
        const key = `${place()}changing`;
        const versions = [1, 2].map((value) => Buffer.alloc(3 * 1024 * 1024, value));
        await store.put(key, Buffer.alloc(3 * 1024 * 1024, 1));
        const { body } = await store.get(key);
        const started = once(body, 'readable');
        await started;
        await store.put(key, Buffer.alloc(3 * 1024 * 1024, 2));
        const seen = await buffer(body);
        expect(versions.some((version) => version.equals(seen))).toBe(true);
        expect((await read(key))[0]).toBe(2);
      });
    });

    describe('a put that fails', () => {
      it.each([
        ['shorter', 99_999],
        ['longer', 100_001],
      ])('leaves nothing when the body is not as long as declared: declared %s', async (_how, size) => {
        const at = place();
        const bytes = pattern(100_000);
        const stream = inChunks(bytes, 10_000);
        await expect(store.put(`${at}stream`, stream, { size })).rejects.toBeInstanceOf(BlobLengthMismatch);
        await expect(store.put(`${at}buffer`, bytes, { size })).rejects.toBeInstanceOf(BlobLengthMismatch);
        expect(stream.destroyed).toBe(true);
        expect(await listed(at)).toEqual([]);
      });

      it('leaves nothing when a large body ends too early', async () => {
        const key = `${place()}cut`;
        const body = inChunks(pattern(17 * 1024 * 1024), 65_536);
        await expect(store.put(key, body, { size: 18 * 1024 * 1024 })).rejects.toBeInstanceOf(
          BlobLengthMismatch,
        );
        expect(await store.stat(key)).toBeUndefined();
      });

      it.each([
        ['at once', 0],
        ['after 1 byte', 1],
        ['after 9 MiB', 9 * 1024 * 1024],
      ])('tells the error of its source and leaves nothing: %s', async (_when, bytes) => {
        const key = `${place()}broken`;
        const failure = new Error('the client went away');
        const body = new Readable({ read: () => undefined });
        if (bytes > 0) body.push(pattern(bytes));
        const put = store.put(key, body);
        await turn();
        body.destroy(failure);
        await expect(put).rejects.toBe(failure);
        expect(await store.stat(key)).toBeUndefined();
      });

      it('fails when its source is destroyed without an error', async () => {
        const key = `${place()}closed`;
        const body = new Readable({ read: () => undefined });
        body.push(pattern(1_000));
        const put = store.put(key, body);
        await turn();
        body.destroy();
        await expect(put).rejects.toThrow(/premature/i);
        await expect(store.put(key, body)).rejects.toThrow();
        expect(await store.stat(key)).toBeUndefined();
      });

      it.each([
        ['before the first byte', 0],
        ['while waiting for more', 1_000],
        ['in the middle of 9 MiB', 9 * 1024 * 1024],
      ])('ends with the reason of its signal and leaves nothing: aborted %s', async (_when, bytes) => {
        const key = `${place()}aborted`;
        const abort = new AbortController();
        const body = new Readable({ read: () => undefined });
        if (bytes > 0) body.push(pattern(bytes));
        const put = store.put(key, body, { signal: abort.signal });
        await turn();
        abort.abort(new Error('enough'));
        await expect(put).rejects.toThrow('enough');
        expect(body.destroyed).toBe(true);
        expect(await store.stat(key)).toBeUndefined();
      });

      it('does not begin when its signal has been aborted', async () => {
        const key = `${place()}never`;
        const body = inChunks(pattern(1_000), 100);
        const signal = AbortSignal.abort(new Error('too late'));
        await expect(store.put(key, body, { signal })).rejects.toThrow('too late');
        await expect(store.put(key, pattern(10), { signal })).rejects.toThrow('too late');
        expect(body.destroyed).toBe(true);
        expect(await store.stat(key)).toBeUndefined();
      });

      it('leaves the earlier blob as it was', async () => {
        const key = `${place()}kept`;
        await store.put(key, Buffer.from('first'));
        await expect(store.put(key, inChunks(pattern(50), 10), { size: 51 })).rejects.toBeInstanceOf(
          BlobLengthMismatch,
        );
        expect((await read(key)).toString()).toBe('first');
      });
    });

    describe('ranges', () => {
      const size = 3 * 1024 * 1024;
      const bytes = pattern(size);
      const key = 'contract/ranges/blob';
      beforeAll(() => store.put(key, bytes), timeout);

      it.each([
        [0, 0],
        [0, 99],
        [size - 1, size - 1],
        [1_048_570, 1_048_590],
        [100, 1_500_000],
        [0, size - 1],
      ])('delivers bytes %i to %i', async (start, end) => {
        const blob = await store.get(key, { range: { start, end } });
        expect(blob.size).toBe(size);
        expectSame(await buffer(blob.body), bytes.subarray(start, end + 1));
      });

      it('refuses a range that the blob does not fill', async () => {
        await expect(store.get(key, { range: { start: size - 10, end: size } })).rejects.toBeInstanceOf(
          BlobTruncated,
        );
        await expect(store.get(key, { range: { start: size, end: size + 5 } })).rejects.toBeInstanceOf(
          BlobTruncated,
        );
        const empty = `${place()}empty`;
        await store.put(empty, Buffer.alloc(0));
        await expect(store.get(empty, { range: { start: 0, end: 0 } })).rejects.toBeInstanceOf(BlobTruncated);
      });

      it.each([
        [-1, 5],
        [5, 4],
        [0.5, 2],
        [0, Number.NaN],
      ])('refuses %d to %d, which is no range', async (start, end) => {
        await expect(store.get(key, { range: { start, end } })).rejects.toBeInstanceOf(RangeError);
      });
    });

    describe('a get', () => {
      it('of a missing key is BlobMissing, its stat undefined', async () => {
        const key = `${place()}nowhere/at/all`;
        await expect(store.get(key)).rejects.toBeInstanceOf(BlobMissing);
        await expect(store.get(key, { range: { start: 0, end: 1 } })).rejects.toBeInstanceOf(BlobMissing);
        expect(await store.stat(key)).toBeUndefined();
      });

      it('finds no blob under the name of a folder', async () => {
        const at = place();
        await store.put(`${at}folder/blob`, pattern(3));
        await expect(store.get(`${at}folder`)).rejects.toBeInstanceOf(BlobMissing);
        expect(await store.stat(`${at}folder`)).toBeUndefined();
        await store.delete(`${at}folder`);
        expect(await store.stat(`${at}folder/blob`)).toMatchObject({ size: 3 });
      });

      it('can be left unread many times over', async () => {
        const key = `${place()}unread`;
        await store.put(key, pattern(2 * 1024 * 1024));
        for (let round = 0; round < 100; round++) {
          const { body } = await store.get(key);
          body.destroy();
        }
        expect(await read(key)).toHaveLength(2 * 1024 * 1024);
      });

      it('ends when its signal is aborted', async () => {
        const key = `${place()}aborted-get`;
        await store.put(key, pattern(2 * 1024 * 1024));
        const abort = new AbortController();
        const { body } = await store.get(key, { signal: abort.signal });
        const failed = expect(buffer(body)).rejects.toMatchObject({ name: 'AbortError' });
        abort.abort();
        await failed;
        expect(body.destroyed).toBe(true);
        await expect(store.get(key, { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow(
          'gone',
        );
      });
    });

    describe('keys', () => {
      const oddNames = [
        'sp ace',
        'pl+us',
        'per%cent',
        'pct%41',
        '100%',
        'ünï-日本-😀',
        'e\u0301 decomposed',
        'q?uo\'te&=#"<>;:@,$!*()[]{}|^`~',
        '.hidden',
        'trailing.',
        'k'.repeat(200),
      ];

      it('may hold spaces, signs and any script', async () => {
        const at = place();
        for (const name of oddNames) await store.put(`${at}${name}/${name}`, Buffer.from(name));
        for (const name of oddNames) {
          const key = `${at}${name}/${name}`;
          expect((await read(key)).toString(), name).toBe(name);
          expect(await store.stat(key), name).toMatchObject({ key });
          expect(keysOf(await listed(key)), name).toEqual([key]);
        }
        expect(keysOf(await listed(at))).toEqual(
          oddNames.map((name) => `${at}${name}/${name}`).sort(byBytes),
        );
        expect(await store.deleteMany(oddNames.map((name) => `${at}${name}/${name}`))).toEqual([]);
        expect(await listed(at)).toEqual([]);
      });

      it.each([
        '',
        '/absolute',
        'trailing/',
        'a//b',
        '..',
        '../outside',
        'a/../b',
        'a/./b',
        'nul\0byte',
        'line\nbreak',
        'back\\slash',
        'lone\ud800surrogate',
        'x'.repeat(256),
        'long/'.repeat(200),
        '.tmp/mine',
        '.multipart/mine',
        'lost+found/mine',
      ])('refuse %j', async (key) => {
        const body = Readable.from([Buffer.from('x')]);
        await expect(store.put(key, body)).rejects.toBeInstanceOf(InvalidKey);
        expect(body.destroyed).toBe(true);
        await expect(store.put(key, Buffer.from('x'))).rejects.toBeInstanceOf(InvalidKey);
        await expect(store.get(key)).rejects.toBeInstanceOf(InvalidKey);
        await expect(store.stat(key)).rejects.toBeInstanceOf(InvalidKey);
        await expect(store.delete(key)).rejects.toBeInstanceOf(InvalidKey);
        expect(await store.deleteMany([key])).toEqual([{ key, reason: expect.any(String) }]);
      });
    });

    describe('delete', () => {
      it('removes the blob and nothing else, and an absent one is success', async () => {
        const at = place();
        await store.put(`${at}a/1`, pattern(1));
        await store.put(`${at}a/10`, pattern(1));
        await store.delete(`${at}a/1`);
        await store.delete(`${at}a/1`);
        await store.delete(`${at}never/was`);
        expect(await store.stat(`${at}a/1`)).toBeUndefined();
        expect(keysOf(await listed(at))).toEqual([`${at}a/10`]);
      });

      it('of many counts absent ones as removed and goes on after a refused key', async () => {
        const at = place();
        await putAll([`${at}a`, `${at}b`], pattern(4));
        const failed = await store.deleteMany([`${at}a`, `${at}absent`, '../x', `${at}b`]);
        expect(failed).toEqual([{ key: '../x', reason: expect.any(String) }]);
        expect(await listed(at)).toEqual([]);
        expect(await store.deleteMany([])).toEqual([]);
      });

      it('and put of neighbours at the same time harm nobody', async () => {
        const at = place();
        for (let round = 0; round < 10; round++) {
          await store.put(`${at}deep/er/old`, pattern(10));
          await Promise.all([store.delete(`${at}deep/er/old`), store.put(`${at}deep/er/new`, pattern(20))]);
          expect(keysOf(await listed(at))).toEqual([`${at}deep/er/new`]);
          await store.delete(`${at}deep/er/new`);
        }
      });
    });

    describe('list', () => {
      it('orders by the UTF-8 bytes of whole keys', async () => {
        const at = place();
        const names = [
          'a/1',
          'a.txt',
          'a-b/2',
          'a0',
          'B',
          'a/1.x',
          'ä',
          '\uffee',
          '😀',
          'a/0/z',
          'a b',
          'a+',
          '~',
          '\ue000/x',
        ];
        await putAll(
          names.map((name) => at + name),
          pattern(7),
        );
        const blobs = await listed(at);
        expect(keysOf(blobs)).toEqual(names.map((name) => at + name).sort(byBytes));
        expect(blobs.every(({ size }) => size === 7)).toBe(true);
        expect(
          blobs.every(({ lastModified }) => Math.abs(lastModified.getTime() - Date.now()) < 600_000),
        ).toBe(true);
      });

      it('goes on after any key, present or not', async () => {
        const at = place();
        const keys = ['a', 'b/1', 'b/2', 'b/c/3', 'b0', 'c'].map((name) => at + name).sort(byBytes);
        await putAll(keys, pattern(1));
        const cursors = [
          ...keys,
          `${at}b`,
          `${at}b/`,
          `${at}b/1x`,
          `${at}b/c`,
          `${at}b/c/4`,
          `${at}zz`,
          at,
          '',
        ];
        for (const after of cursors) {
          const expected = keys.filter((key) => byBytes(key, after) > 0);
          expect(keysOf(await listed(at, after)), JSON.stringify(after)).toEqual(expected);
        }
      });

      it('keeps to the prefix, with and without a slash', async () => {
        const at = place();
        await putAll(
          ['p1/a', 'p1/b/c', 'p10/a', 'p2/a'].map((name) => at + name),
          pattern(1),
        );
        expect(keysOf(await listed(`${at}p1/`))).toEqual([`${at}p1/a`, `${at}p1/b/c`]);
        expect(keysOf(await listed(`${at}p1`))).toEqual([`${at}p1/a`, `${at}p1/b/c`, `${at}p10/a`]);
        expect(keysOf(await listed(`${at}p1/b`))).toEqual([`${at}p1/b/c`]);
        expect(keysOf(await listed(`${at}p1/a`))).toEqual([`${at}p1/a`]);
        expect(await listed(`${at}p1/a/`)).toEqual([]);
        expect(await listed(`${at}p3/`)).toEqual([]);
        expect(await listed('../')).toEqual([]);
        expect(await listed(`${at}../`)).toEqual([]);
      });

      it('may be left in the middle', async () => {
        const at = place();
        await putAll(
          ['1', '2', '3'].map((name) => at + name),
          pattern(1),
        );
        for await (const { key } of store.list({ prefix: at })) {
          expect(key).toBe(`${at}1`);
          break;
        }
      });

      it(
        `finds ${manyBlobs} blobs once each and deletes them all`,
        async () => {
          const at = place();
          const keys = Array.from({ length: manyBlobs }, (_, index) => `${at}${index % 3}/${index}`);
          await putAll(keys, pattern(1));
          expect(keysOf(await listed(at))).toEqual([...keys].sort(byBytes));
          const middle = [...keys].sort(byBytes)[Math.floor(manyBlobs / 2)] ?? '';
          expect(await listed(at, middle)).toHaveLength(manyBlobs - Math.floor(manyBlobs / 2) - 1);
          expect(await store.deleteMany(keys)).toEqual([]);
          expect(await listed(at)).toEqual([]);
        },
        timeout * 6,
      );
    });

    describe('the store', () => {
      it('checks itself and leaves no trace', async () => {
        await store.check();
        expect(await listed('.mediablobkit/')).toEqual([]);
      });

      it('has nothing stale after all this', async () => {
        expect(await store.removeStaleTemporaries(0)).toBe(0);
      });

      it.runIf(presigns)('signs URLs that a plain client can fetch', async () => {
        const key = `${place()}signed ü+%.bin`;
        const bytes = pattern(5_000);
        await store.put(key, bytes, { contentType: 'image/png' });
        const options = {
          expiresIn: 120,
          signedAt: new Date(),
          contentType: 'text/plain',
          contentDisposition: `attachment; filename="a b.txt"; filename*=UTF-8''%C3%BC.txt`,
          cacheControl: 'private, max-age=60',
        };
        const url = await store.presignGet(key, options);
        expect(url).toBe(await store.presignGet(key, options));
        expect(url).not.toMatch(/checksum/i);
        const whole = await fetch(url ?? '');
        expect(whole.status).toBe(200);
        expectSame(Buffer.from(await whole.arrayBuffer()), bytes);
        expect(whole.headers.get('content-type')).toBe('text/plain');
        expect(whole.headers.get('content-disposition')).toBe(options.contentDisposition);
        expect(whole.headers.get('cache-control')).toBe('private, max-age=60');
        const part = await fetch(url ?? '', { headers: { range: 'bytes=10-19' } });
        expect(part.status).toBe(206);
        expect(Buffer.from(await part.arrayBuffer())).toEqual(bytes.subarray(10, 20));
        const forged = await fetch((url ?? '').replace('text%2Fplain', 'text%2Fhtml'));
        await forged.arrayBuffer();
        expect(forged.status).toBe(403);
        const past = await store.presignGet(key, { expiresIn: 60, signedAt: new Date(Date.now() - 90_000) });
        const expired = await fetch(past ?? '');
        await expired.arrayBuffer();
        expect(expired.status).toBe(403);
      });

      it.runIf(!presigns)('signs no URLs', async () => {
        expect(
          await store.presignGet('contract/any', { expiresIn: 60, signedAt: new Date() }),
        ).toBeUndefined();
      });
    });
  });
}

/** Five pages of a listing, five batches of a deletion. */
const manyBlobs = 5_000;

/** Bytes that differ from place to place, so that a swapped or repeated part shows. */
export function pattern(length: number): Buffer {
  const block = randomlyFilled.subarray(0, Math.min(length, randomlyFilled.length));
  const bytes = Buffer.alloc(length, block);
  for (let at = 0, count = 0; at + 4 <= length; at += 65_536, count++) bytes.writeUInt32LE(count, at);
  return bytes;
}
const randomlyFilled = randomBytes(65_536 + 13);

/** The buffer as a stream of chunks. */
export function inChunks(bytes: Buffer, chunkBytes: number): Readable {
  let at = 0;
  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      this.push(at < bytes.length ? bytes.subarray(at, (at += chunkBytes)) : null);
    },
  });
}

/** Vitest's own comparison of a megabyte takes a second. */
export function expectSame(actual: Buffer, expected: Buffer): void {
  expect(actual.length).toBe(expected.length);
  expect(actual.equals(expected), 'the same bytes').toBe(true);
}

/** The order the contract demands, by an implementation other than the one under test. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
