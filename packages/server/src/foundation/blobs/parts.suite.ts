import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Trial } from './abilities.suite.js';
import {
  BlobLengthMismatch,
  InvalidKey,
  MultipartMissing,
  PartsRefused,
  type MultipartBlobs,
  type Part,
} from './blob-store.js';
import { expectSame, inChunks, pattern } from './contract.suite.js';

/** More than one page of S3's listings, which have a thousand entries. */
const manyEntries = 1_005;

/** What every store's `multipart` must do. */
export function partsContract(trial: Trial): void {
  const { store, place, read, keys, unfinished, lacks, timeout } = trial;
  const multipart = (): MultipartBlobs => store().multipart;
  /** A part that may stand before others: as small as the store allows, and not of equal size everywhere. */
  const large = (extra: number): Buffer => pattern(Math.max(multipart().smallestPart, 100_000) + extra);
  /** An upload with one part in it. */
  const begun = async (key: string, bytes = pattern(10)): Promise<{ id: string; part: Part }> => {
    const id = await multipart().begin(key);
    return { id, part: await multipart().put(key, id, 1, bytes) };
  };

  it('becomes one blob of parts that came in any order, one of them twice', async () => {
    const key = `${place()}whole`;
    const [one, two, three] = [large(1), large(2_000), pattern(77)];
    const id = await multipart().begin(key, { contentType: 'image/png' });
    const third = await multipart().put(key, id, 3, three);
    await multipart().put(key, id, 2, pattern(5));
    const first = await multipart().put(key, id, 1, inChunks(one, 65_536), { size: one.length });
    const second = await multipart().put(key, id, 2, inChunks(two, 10_000));
    expect(second).toEqual({ number: 2, size: two.length, etag: expect.any(String) });
    expect(await multipart().parts(key, id)).toEqual([first, second, third]);

    expect(await store().stat(key)).toBeUndefined();
    expect(await keys(key)).toEqual([]);
    const size = one.length + two.length + three.length;
    expect(await multipart().complete(key, id, [first, second, third])).toEqual({ size });
    expectSame(await read(key), Buffer.concat([one, two, three]));
    expect(await unfinished(key)).toEqual([]);
  });

  it('of one part, and of numbers with gaps between them', async () => {
    const at = place();
    const { id, part } = await begun(`${at}one`, pattern(12_345));
    expect(await multipart().complete(`${at}one`, id, [part])).toEqual({ size: 12_345 });
    expectSame(await read(`${at}one`), pattern(12_345));

    const key = `${at}gaps`;
    const other = await multipart().begin(key);
    const last = await multipart().put(key, other, 10_000, Buffer.from('end'));
    const first = await multipart().put(key, other, 7, large(0));
    await multipart().complete(key, other, [first, last]);
    expectSame(await read(key), Buffer.concat([large(0), Buffer.from('end')]));
  });

  it('never holds parts that were not named', async () => {
    const key = `${place()}some`;
    const { id, part } = await begun(key, pattern(500));
    await multipart().put(key, id, 2, pattern(9));
    const outcome = await multipart()
      .complete(key, id, [part])
      .catch((error: unknown) => error);
    if (outcome instanceof PartsRefused) {
      expect(await store().stat(key)).toBeUndefined();
      await multipart().abort(key, id);
      return;
    }
    expect(outcome).toEqual({ size: 500 });
    expectSame(await read(key), pattern(500));
  });

  it('leaves what the key held until it is complete', async () => {
    const key = `${place()}before`;
    await store().put(key, Buffer.from('before'));
    const { id, part } = await begun(key, Buffer.from('after'));
    expect((await read(key)).toString()).toBe('before');
    await multipart().complete(key, id, [part]);
    expect((await read(key)).toString()).toBe('after');
  });

  it('takes parts at the same time, also several of one number', async () => {
    const key = `${place()}parallel`;
    const id = await multipart().begin(key);
    const bodies = [1, 2, 3, 4].map((value) => large(value));
    const puts = bodies.map((bytes, index) => multipart().put(key, id, index + 1, bytes));
    const tails = [5, 6, 7].map((value) => multipart().put(key, id, 5, Buffer.alloc(value, value)));
    const parts = await Promise.all(puts);
    await Promise.all(tails);
    const listed = await multipart().parts(key, id);
    expect(listed.slice(0, 4)).toEqual(parts);
    expect(listed).toHaveLength(5);
    await multipart().complete(key, id, listed);
    const tail = (await read(key)).subarray(bodies.reduce((sum, { length }) => sum + length, 0));
    expect(tail.equals(Buffer.alloc(tail.length, tail.length))).toBe(true);
    expect(tail.length).toBe(listed[4]?.size);
  });

  it('is complete only of the parts that are there, in order, none too small', async () => {
    const key = `${place()}refused`;
    const id = await multipart().begin(key);
    const first = await multipart().put(key, id, 1, large(3));
    const replaced = await multipart().put(key, id, 2, pattern(33));
    const second = await multipart().put(key, id, 2, pattern(44));
    const absent = { ...second, number: 3 };
    const wrong: readonly (readonly Part[])[] = [
      [],
      [second, first],
      [first, first],
      [first, replaced],
      [first, absent],
      [first, { ...second, etag: first.etag }],
    ];
    for (const parts of wrong) {
      await expect(multipart().complete(key, id, parts), JSON.stringify(parts)).rejects.toBeInstanceOf(
        PartsRefused,
      );
    }
    expect(await store().stat(key)).toBeUndefined();
    expect(await multipart().complete(key, id, [first, second])).toEqual({ size: first.size + 44 });
    expectSame(await read(key), Buffer.concat([large(3), pattern(44)]));

    const other = await multipart().begin(key);
    const small = await multipart().put(key, other, 1, pattern(multipart().smallestPart - 1));
    const end = await multipart().put(key, other, 2, pattern(5));
    await expect(multipart().complete(key, other, [small, end])).rejects.toBeInstanceOf(PartsRefused);
    // The store itself says so too, when it is told of another size.
    const lying = { ...small, size: multipart().smallestPart };
    await expect(multipart().complete(key, other, [lying, end])).rejects.toBeInstanceOf(PartsRefused);
    await multipart().abort(key, other);
    expectSame(await read(key), Buffer.concat([large(3), pattern(44)]));
  });

  it('may be completed again when the answer was lost', async () => {
    const at = place();
    const { id, part } = await begun(`${at}one`);
    const done = await multipart().complete(`${at}one`, id, [part]);
    expect(await multipart().complete(`${at}one`, id, [part])).toEqual(done);
    expectSame(await read(`${at}one`), pattern(10));

    const other = await multipart().begin(`${at}two`);
    const parts = [
      await multipart().put(`${at}two`, other, 1, large(0)),
      await multipart().put(`${at}two`, other, 2, pattern(3)),
    ];
    const both = await Promise.all([1, 2].map(() => multipart().complete(`${at}two`, other, parts)));
    expect(both[0]).toEqual(both[1]);
    expect(await multipart().complete(`${at}two`, other, parts)).toEqual(both[0]);
    expectSame(await read(`${at}two`), Buffer.concat([large(0), pattern(3)]));
  });

  // A server that answers 500 to the completion of what is over is asked six times.
  it('is over once it was aborted, as often as one likes', { timeout: timeout * 3 }, async () => {
    const key = `${place()}aborted`;
    const { id, part } = await begun(key);
    await multipart().abort(key, id);
    await multipart().abort(key, id);
    await expectOver(key, id, part);
    expect(await unfinished(key)).toEqual([]);
    expect(await store().stat(key)).toBeUndefined();
  });

  it('that was never begun, or for another key, is missing', { timeout: timeout * 3 }, async () => {
    const at = place();
    const { id, part } = await begun(`${at}mine`);
    await expectOver(`${at}other`, id, part);
    await multipart().abort(`${at}other`, id);
    expect(await multipart().parts(`${at}mine`, id)).toEqual([part]);
    await multipart().abort(`${at}mine`, id);
    for (const strange of ['01890000-0000-7000-8000-000000000000', '../../.tmp', '.']) {
      await expectOver(`${at}mine`, strange, part);
      await multipart().abort(`${at}mine`, strange);
    }
  });

  it('that is complete takes no more parts', async () => {
    const key = `${place()}sealed`;
    const { id, part } = await begun(key, Buffer.from('whole'));
    await multipart().complete(key, id, [part]);
    const late = multipart().put(key, id, 1, Buffer.from('late!'));
    if (lacks('sealedMultipart')) {
      // Declared: the store takes it, and the blob is not what it was. A copy made before is (see `copy`).
      expect(await late).toMatchObject({ size: 5 });
      await store().delete(key);
      return;
    }
    await expect(late).rejects.toBeInstanceOf(MultipartMissing);
    await multipart().abort(key, id);
    expect((await read(key)).toString()).toBe('whole');
  });

  it('keeps the earlier part when a later one fails', async () => {
    const key = `${place()}failing`;
    const { id, part } = await begun(key, Buffer.from('kept'));
    const put = (body: Readable | Buffer, size: number): Promise<Part> =>
      multipart().put(key, id, 1, body, { size });
    for (const size of [3, 5, 2 ** 20]) {
      const stream = inChunks(Buffer.from('four'), 3);
      await expect(put(stream, size)).rejects.toBeInstanceOf(BlobLengthMismatch);
      expect(stream.destroyed).toBe(true);
      await expect(put(Buffer.from('four'), size)).rejects.toBeInstanceOf(BlobLengthMismatch);
    }
    await expect(put(Buffer.from('four'), multipart().largestPart + 1)).rejects.toBeInstanceOf(PartsRefused);

    const failure = new Error('the client went away');
    const broken = new Readable({ read: () => undefined });
    broken.push(pattern(100));
    const putting = multipart().put(key, id, 1, broken);
    await turn();
    broken.destroy(failure);
    await expect(putting).rejects.toBe(failure);

    const abort = new AbortController();
    const waiting = new Readable({ read: () => undefined });
    const aborted = multipart().put(key, id, 1, waiting, { signal: abort.signal });
    await turn();
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    expect(waiting.destroyed).toBe(true);
    await expect(multipart().put(key, id, 1, pattern(3), { signal: abort.signal })).rejects.toThrow('enough');

    expect(await multipart().parts(key, id)).toEqual([part]);
    await multipart().complete(key, id, [part]);
    expect((await read(key)).toString()).toBe('kept');
  });

  it('refuses numbers and keys that are none', async () => {
    const key = `${place()}numbers`;
    const id = await multipart().begin(key);
    for (const number of [0, -1, 1.5, 10_001, Number.NaN]) {
      const body = Readable.from([Buffer.from('x')]);
      await expect(multipart().put(key, id, number, body)).rejects.toBeInstanceOf(RangeError);
      expect(body.destroyed).toBe(true);
    }
    for (const bad of ['../x', '.multipart/x', '']) {
      const body = Readable.from([Buffer.from('x')]);
      await expect(async () => multipart().begin(bad)).rejects.toBeInstanceOf(InvalidKey);
      await expect(multipart().put(bad, id, 1, body)).rejects.toBeInstanceOf(InvalidKey);
      await expect(multipart().parts(bad, id)).rejects.toBeInstanceOf(InvalidKey);
      await expect(multipart().complete(bad, id, [])).rejects.toBeInstanceOf(InvalidKey);
      await expect(multipart().abort(bad, id)).rejects.toBeInstanceOf(InvalidKey);
      expect(body.destroyed).toBe(true);
    }
    await multipart().abort(key, id);
  });

  it('lists what nobody has finished, by prefix and with odd names', async () => {
    const at = place();
    const names = ['p1/a', 'p1/b c+%41', 'p1/ünï-日本-😀', 'p10/a', 'p1'];
    const ids = new Map<string, string>();
    for (const name of names) ids.set(at + name, await multipart().begin(at + name));
    const second = await multipart().begin(`${at}p1/a`);
    const found = await unfinished(`${at}p1/`);
    expect(found.map(({ key, uploadId }) => `${key} ${uploadId}`).sort()).toEqual(
      [
        ...names.slice(0, 3).map((name) => `${at}${name} ${ids.get(at + name)}`),
        `${at}p1/a ${second}`,
      ].sort(),
    );
    expect(await unfinished(`${at}p1`)).toHaveLength(6);
    expect(await unfinished(`${at}p2/`)).toEqual([]);
    for (const { begunAt } of found) expect(Math.abs(begunAt.getTime() - Date.now())).toBeLessThan(60_000);
    for (const { key, uploadId } of await unfinished(at)) await multipart().abort(key, uploadId);
    expect(await unfinished(at)).toEqual([]);
  });

  it('that is stale is removed unless somebody keeps it', async () => {
    const at = place();
    const kept = await begun(`${at}kept`);
    const left = await begun(`${at}left`);
    expect(await store().removeStaleTemporaries(60 * 60_000)).toBe(0);
    const asked: string[] = [];
    const removed = await store().removeStaleTemporaries(-60_000, async ({ key, uploadId }) => {
      asked.push(key);
      await turn();
      // What other tests left is none of this one's.
      return uploadId === kept.id || !key.startsWith(at);
    });
    expect(asked.filter((key) => key.startsWith(at)).sort()).toEqual([`${at}kept`, `${at}left`]);
    expect(removed).toBe(1);
    await expectOver(`${at}left`, left.id, left.part);
    expect(await multipart().complete(`${at}kept`, kept.id, [kept.part])).toEqual({ size: 10 });
  });

  it(
    `of ${manyEntries} parts, and one of ${manyEntries} puts, is listed to the end`,
    async () => {
      const at = place();
      const id = await multipart().begin(`${at}parts`);
      const numbers = Array.from({ length: manyEntries }, (_, index) => index + 1);
      await inLanes(numbers, async (number) => {
        await multipart().put(`${at}parts`, id, number, Buffer.from(String(number)));
      });
      const parts = await multipart().parts(`${at}parts`, id);
      expect(parts.map(({ number }) => number)).toEqual(numbers);
      expect(parts.every(({ number, size }) => size === String(number).length)).toBe(true);

      await inLanes(numbers, async (number) => {
        await multipart().begin(`${at}puts/${number % 10}/${number}`);
      });
      const puts = await unfinished(`${at}puts/`);
      expect(new Set(puts.map(({ key }) => key)).size).toBe(manyEntries);
      expect(puts).toHaveLength(manyEntries);
      await inLanes(puts, ({ key, uploadId }) => multipart().abort(key, uploadId));
      await multipart().abort(`${at}parts`, id);
      expect(await unfinished(at)).toEqual([]);
    },
    timeout * 6,
  );

  async function expectOver(key: string, id: string, part: Part): Promise<void> {
    const body = Readable.from([Buffer.from('x')]);
    await expect(multipart().put(key, id, 1, body)).rejects.toBeInstanceOf(MultipartMissing);
    expect(body.destroyed).toBe(true);
    await expect(multipart().parts(key, id)).rejects.toBeInstanceOf(MultipartMissing);
    await expect(multipart().complete(key, id, [part])).rejects.toBeInstanceOf(MultipartMissing);
  }
}

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const lane = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: 16 }, lane));
}
