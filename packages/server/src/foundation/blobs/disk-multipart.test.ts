import { mkdir, open, readdir, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../ids.js';
import { MultipartMissing, PartsRefused, StoreUnavailable, type BlobStore } from './blob-store.js';
import { expectSame, inChunks, pattern } from './contract.suite.js';
import { openDiskStore } from './disk.js';
import { createDiskCopy } from './disk-copy.js';
import { foldersUnder } from './disk-folders.js';
import { createPublishing } from './disk-publish.js';
import { makeBlobFolder, type BlobFolder } from './disk.suite.js';
import { openTemporaries } from './disk-temporaries.js';

let folder: BlobFolder;
let store: BlobStore;
beforeEach(async () => {
  folder = await makeBlobFolder();
  store = await openDiskStore({ folder: folder.path });
});
afterEach(() => folder.remove());

const inFolder = (...names: string[]): string => join(folder.path, ...names);
const partsOf = (id: string): Promise<string[]> => readdir(inFolder('.multipart', id));
const uploads = async (): Promise<string[]> => (await readdir(inFolder('.multipart'))).sort();
const read = async (key: string): Promise<Buffer> => buffer((await store.get(key)).body);

describe('parts on disk', () => {
  it('show only when they are whole, and only their last version is kept', async () => {
    const id = await store.multipart.begin('p/files/a');
    const body = new Readable({ read: () => undefined });
    const putting = store.multipart.put('p/files/a', id, 1, body);
    body.push(pattern(3 * 2 ** 20));
    await expect.poll(() => folder.temporaries()).toHaveLength(1);
    expect(await partsOf(id)).toEqual(['upload.json']);
    expect(await store.multipart.parts('p/files/a', id)).toEqual([]);
    body.push(null);
    await putting;
    await store.multipart.put('p/files/a', id, 1, pattern(7));
    await store.multipart.put('p/files/a', id, 1, pattern(8));
    expect((await partsOf(id)).filter((name) => name.startsWith('1.'))).toEqual([
      expect.stringMatching(/^1\.3\.8\.[0-9a-f]{32}$/),
    ]);
    expect(await folder.temporaries()).toEqual([]);
  });

  it('of a process that was paused in the middle change no blob, whatever became of the upload', async () => {
    for (const end of ['complete', 'abort'] as const) {
      const key = `p/files/${end}`;
      const id = await store.multipart.begin(key);
      const part = await store.multipart.put(key, id, 1, pattern(1_000));
      const paused = new Readable({ read: () => undefined });
      paused.push(pattern(2 * 2 ** 20));
      const late = store.multipart.put(key, id, 1, paused);
      await expect.poll(() => folder.temporaries()).toHaveLength(1);
      if (end === 'complete') await store.multipart.complete(key, id, [part]);
      else await store.multipart.abort(key, id);
      paused.push(null);
      await expect(late).rejects.toBeInstanceOf(MultipartMissing);
      if (end === 'complete') expectSame(await read(key), pattern(1_000));
      else expect(await store.stat(key)).toBeUndefined();
      expect(await folder.temporaries()).toEqual([]);
      expect(await uploads()).toEqual([]);
    }
  });

  it('are seen by another process of the same folder, which goes on with them', async () => {
    const other = await openDiskStore({ folder: folder.path });
    const id = await store.multipart.begin('a');
    const first = await store.multipart.put('a', id, 1, Buffer.from('one'));
    const second = await other.multipart.put('a', id, 2, Buffer.from('two'));
    expect(await store.multipart.parts('a', id)).toEqual([first, second]);
    expect(await other.multipart.complete('a', id, [first, second])).toEqual({ size: 6 });
    expect((await read('a')).toString()).toBe('onetwo');
  });

  it('stay when the store is opened again, however old they are', async () => {
    const id = await store.multipart.begin('a');
    const part = await store.multipart.put('a', id, 1, Buffer.from('one'));
    await age(id);
    const again = await openDiskStore({ folder: folder.path });
    expect(await again.multipart.parts('a', id)).toEqual([part]);
  });

  it('that were cut by somebody else are no blob', async () => {
    const id = await store.multipart.begin('a');
    const parts = [
      await store.multipart.put('a', id, 1, pattern(5_000)),
      await store.multipart.put('a', id, 2, pattern(10)),
    ];
    const [name = ''] = (await partsOf(id)).filter((one) => one.startsWith('1.'));
    const handle = await open(inFolder('.multipart', id, name), 'r+');
    await handle.truncate(4_999);
    await handle.close();
    await expect(store.multipart.complete('a', id, parts)).rejects.toBeInstanceOf(StoreUnavailable);
    expect(await store.stat('a')).toBeUndefined();
    expect(await folder.temporaries()).toEqual([]);
  });

  it('are not looked for through a link', async () => {
    const outside = await makeBlobFolder();
    try {
      const id = newId();
      await mkdir(inFolder('.multipart'), { recursive: true });
      await writeFile(join(outside.path, 'upload.json'), JSON.stringify({ key: 'a' }));
      await symlink(outside.path, inFolder('.multipart', id));
      await expect(store.multipart.put('a', id, 1, Buffer.from('x'))).rejects.toBeInstanceOf(
        StoreUnavailable,
      );
      expect(await readdir(outside.path)).toEqual(['upload.json']);
    } finally {
      await outside.remove();
    }
  });
});

/** What a crash between any two steps leaves, made by hand. */
describe('a completion that was cut off', () => {
  it('after a single part became the blob is completed again', async () => {
    const id = await store.multipart.begin('one');
    const part = await store.multipart.put('one', id, 1, pattern(5_000));
    const [name = ''] = (await partsOf(id)).filter((one) => one.startsWith('1.'));
    await rename(inFolder('.multipart', id, name), inFolder('one'));
    expect(await store.multipart.complete('one', id, [part])).toEqual({ size: 5_000 });
    expectSame(await read('one'), pattern(5_000));
    expect(await uploads()).toEqual([]);
  });

  it('after several parts became the blob is completed again', async () => {
    const id = await store.multipart.begin('p/two');
    const parts = [
      await store.multipart.put('p/two', id, 1, pattern(3 * 2 ** 20)),
      await store.multipart.put('p/two', id, 2, pattern(5)),
    ];
    await store.put('p/two', Buffer.concat([pattern(3 * 2 ** 20), pattern(5)]));
    expect(await store.multipart.complete('p/two', id, parts)).toEqual({ size: 3 * 2 ** 20 + 5 });
    expect(await store.multipart.complete('p/two', id, parts)).toEqual({ size: 3 * 2 ** 20 + 5 });
    expect(await uploads()).toEqual([]);
  });

  it('is not taken for done when another blob of that size lies under the key', async () => {
    const id = await store.multipart.begin('other');
    const part = await store.multipart.put('other', id, 1, Buffer.from('mine'));
    await store.multipart.abort('other', id);
    await store.put('other', Buffer.from('hers'));
    await expect(store.multipart.complete('other', id, [part])).rejects.toBeInstanceOf(MultipartMissing);
    const next = await store.multipart.begin('other');
    await expect(store.multipart.complete('other', next, [part])).rejects.toBeInstanceOf(PartsRefused);
    expect((await read('other')).toString()).toBe('hers');
  });

  it('or an abort in the middle of its removal, or a beginning, leave nothing for good', async () => {
    const gone = `.dropped-${newId()}`;
    const [unborn, torn, fresh] = [newId(), newId(), newId()];
    for (const name of [gone, unborn, torn, fresh])
      await mkdir(inFolder('.multipart', name), { recursive: true });
    await writeFile(inFolder('.multipart', gone, '1.1.1.00000000000000000000000000000000'), 'x');
    await writeFile(inFolder('.multipart', torn, 'upload.json'), '{"key":');
    const past = new Date(Date.now() - 90 * 60_000);
    for (const name of [unborn, torn]) await utimes(inFolder('.multipart', name), past, past);
    // Nobody can be asked about an upload that has no key.
    expect(await store.removeStaleTemporaries(60 * 60_000, () => true)).toBe(2);
    expect(await uploads()).toEqual([fresh]);
    await expect(store.multipart.put('a', fresh, 1, Buffer.from('x'))).rejects.toBeInstanceOf(
      MultipartMissing,
    );
  });

  it('and never finished goes once it is old and nobody keeps it', async () => {
    const [old, kept, young] = [
      await store.multipart.begin('old'),
      await store.multipart.begin('kept'),
      await store.multipart.begin('young'),
    ];
    await age(old);
    await age(kept);
    expect(await store.removeStaleTemporaries(60 * 60_000, ({ uploadId }) => uploadId === kept)).toBe(1);
    expect(await uploads()).toEqual([kept, young].sort());
  });
});

describe('a copy on disk', () => {
  it('is a second name of the file, which no put writes to', async () => {
    await store.put('a', pattern(100_000));
    await store.copy('a', 'b');
    await store.put('a', inChunks(pattern(50), 10));
    expectSame(await read('b'), pattern(100_000));
    expect(await folder.temporaries()).toEqual([]);
  });

  it('copies the bytes where the file system has no links', async () => {
    const folders = foldersUnder(folder.path);
    const temporaries = await openTemporaries(inFolder('.tmp'));
    const publishing = createPublishing({ folders, temporaries, log: undefined });
    const noLinks = Object.assign(new Error('not permitted'), { code: 'EPERM' });
    const copy = createDiskCopy({
      folders,
      temporaries,
      publishing,
      makeLink: () => Promise.reject(noLinks),
    });
    await store.put('a', pattern(3 * 2 ** 20));
    expect(await copy('a', 'deep/b', { size: 3 * 2 ** 20 })).toEqual({ size: 3 * 2 ** 20 });
    expect(await copy('a', 'a')).toEqual({ size: 3 * 2 ** 20 });
    await store.delete('a');
    expectSame(await read('deep/b'), pattern(3 * 2 ** 20));
    expect(await folder.temporaries()).toEqual([]);
  });

  it('follows no link', async () => {
    await writeFile(inFolder('outside'), 'secret');
    await symlink(inFolder('outside'), inFolder('link'));
    await expect(store.copy('link', 'b')).rejects.toThrow('no blob');
    expect(await store.stat('b')).toBeUndefined();
  });
});

/** Makes an upload look begun two hours ago. */
async function age(id: string): Promise<void> {
  const past = new Date(Date.now() - 120 * 60_000);
  await utimes(inFolder('.multipart', id, 'upload.json'), past, past);
}
