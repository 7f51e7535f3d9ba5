import { expect, it } from 'vitest';
import type { Trial } from './abilities.suite.js';
import { BlobLengthMismatch, BlobMissing, InvalidKey } from './blob-store.js';
import { expectSame, inChunks, pattern } from './contract.suite.js';

/** What every store's `copy` must do. */
export function copyContract({ store, place, read, keys, unfinished, lacks }: Trial): void {
  it.each([
    ['nothing', 0],
    ['a few bytes', 10],
    ['as much as one request copies', 6 * 2 ** 20],
    ['one byte more, in parts', 6 * 2 ** 20 + 1],
    ['three parts', 15 * 2 ** 20],
  ])('makes a second blob of %s', async (_what, size) => {
    const at = place();
    const bytes = pattern(size);
    await store().put(`${at}from`, bytes);
    const before = Date.now();
    expect(await store().copy(`${at}from`, `${at}deep/er/to`, { size })).toEqual({ size });
    expectSame(await read(`${at}deep/er/to`), bytes);
    expectSame(await read(`${at}from`), bytes);
    const stat = await store().stat(`${at}deep/er/to`);
    expect(stat).toMatchObject({ size });
    expect(Math.abs((stat?.lastModified.getTime() ?? 0) - before)).toBeLessThan(60_000);
    expect(await unfinished(at)).toEqual([]);
  });

  it('is a blob by itself, whatever becomes of the first', async () => {
    const at = place();
    await store().put(`${at}a`, Buffer.from('first'));
    await store().copy(`${at}a`, `${at}b`);
    await store().put(`${at}a`, Buffer.from('changed'));
    expect((await read(`${at}b`)).toString()).toBe('first');
    await store().delete(`${at}a`);
    expect((await read(`${at}b`)).toString()).toBe('first');
    await store().copy(`${at}b`, `${at}a`);
    await store().put(`${at}b`, Buffer.from('second'));
    expect((await read(`${at}a`)).toString()).toBe('first');
  });

  it('of a blob that was put in parts is no longer touched by them', async () => {
    const at = place();
    const { multipart } = store();
    const key = `${at}parts`;
    const id = await multipart.begin(key);
    const large = pattern(Math.max(multipart.smallestPart, 1000));
    const part = await multipart.put(key, id, 1, large);
    const end = await multipart.put(key, id, 2, Buffer.from('end'));
    await multipart.complete(key, id, [part, end]);
    await store().copy(key, `${at}copy`);
    // A late part, which some stores take (see `sealedMultipart`).
    await multipart.put(key, id, 2, Buffer.from('not')).catch(() => undefined);
    await store().delete(key);
    expectSame(await read(`${at}copy`), Buffer.concat([large, Buffer.from('end')]));
  });

  it('replaces what was there, any number of times, also itself', async () => {
    const at = place();
    await store().put(`${at}a`, Buffer.from('new'));
    await store().put(`${at}b`, Buffer.from('the old one'));
    for (let round = 0; round < 3; round++) await store().copy(`${at}a`, `${at}b`);
    expect((await read(`${at}b`)).toString()).toBe('new');
    expect(await store().copy(`${at}a`, `${at}a`)).toEqual({ size: 3 });
    expect((await read(`${at}a`)).toString()).toBe('new');
    await Promise.all(Array.from({ length: 8 }, () => store().copy(`${at}a`, `${at}b`)));
    expect((await read(`${at}b`)).toString()).toBe('new');
    expect(await keys(at)).toEqual([`${at}a`, `${at}b`]);
  });

  it('copies between odd names', async () => {
    const at = place();
    for (const name of [
      'sp ace',
      'pl+us',
      'per%cent',
      'pct%41',
      'ünï-日本-😀',
      'q?uo\'te&=#"<>;:@,$!*()[]',
    ]) {
      await store().put(`${at}from/${name}`, Buffer.from(name));
      await store().copy(`${at}from/${name}`, `${at}to/${name}`);
      expect((await read(`${at}to/${name}`)).toString(), name).toBe(name);
    }
  });

  it('of nothing is BlobMissing, of another size refused, and neither leaves anything', async () => {
    const at = place();
    await store().put(`${at}a`, pattern(100));
    await expect(store().copy(`${at}nowhere/at/all`, `${at}b`)).rejects.toBeInstanceOf(BlobMissing);
    await expect(store().copy(at.slice(0, -1), `${at}b`)).rejects.toBeInstanceOf(BlobMissing);
    await expect(store().copy(`${at}a`, `${at}b`, { size: 99 })).rejects.toBeInstanceOf(BlobLengthMismatch);
    await expect(store().copy('../a', `${at}b`)).rejects.toBeInstanceOf(InvalidKey);
    await expect(store().copy(`${at}a`, '../b')).rejects.toBeInstanceOf(InvalidKey);
    const signal = AbortSignal.abort(new Error('too late'));
    await expect(store().copy(`${at}a`, `${at}b`, { signal })).rejects.toThrow('too late');
    expect(await keys(at)).toEqual([`${at}a`]);
    expect(await store().removeStaleTemporaries(0, () => true)).toBe(0);
  });

  it.runIf(!lacks('signedUrls')).each([
    ['in one request', 100],
    ['in parts', 7 * 2 ** 20],
  ])('keeps the media type or sets another: %s', async (_how, size) => {
    const at = place();
    const typeOf = async (key: string): Promise<string | null> => {
      const url = await store().presignGet(key, { expiresIn: 60, signedAt: new Date() });
      const response = await fetch(url ?? '', { headers: { range: 'bytes=0-0' } });
      await response.arrayBuffer();
      return response.headers.get('content-type');
    };
    await store().put(`${at}a`, inChunks(pattern(size), 65_536), { contentType: 'image/png' });
    await store().copy(`${at}a`, `${at}kept`);
    await store().copy(`${at}a`, `${at}set`, { contentType: 'image/webp' });
    expect(await typeOf(`${at}kept`)).toBe('image/png');
    expect(await typeOf(`${at}set`)).toBe('image/webp');
    expect(await typeOf(`${at}a`)).toBe('image/png');
  });
}
