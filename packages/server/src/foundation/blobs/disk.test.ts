import { spawnSync } from 'node:child_process';
import {
  chmod,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  BlobMissing,
  BlobTruncated,
  InvalidKey,
  StoreFull,
  StoreUnavailable,
  type BlobStore,
} from './blob-store.js';
import { blobAbilitiesContract } from './abilities.suite.js';
import { blobStoreContract, inChunks, pattern, type OpenedStore } from './contract.suite.js';
import { openDiskStore } from './disk.js';
import { storeError } from './disk-errors.js';
import { makeBlobFolder, type BlobFolder } from './disk.suite.js';
import { openBlobStore } from './open.js';
import { createLog } from '../log.js';

const openStore = async (): Promise<OpenedStore> => {
  const folder = await makeBlobFolder();
  const store = await openDiskStore({ folder: folder.path });
  return {
    store,
    close: async () => {
      await store.close();
      expect(await folder.temporaries()).toEqual([]);
      await folder.remove();
    },
  };
};
blobStoreContract('disk', openStore, { presigns: false });
blobAbilitiesContract('disk', openStore, { lacks: ['signedUrls', 'signedForms'] });

describe('the disk store', () => {
  let folder: BlobFolder;
  let store: BlobStore;
  beforeEach(async () => {
    folder = await makeBlobFolder();
    store = await openDiskStore({ folder: folder.path });
  });
  afterEach(() => folder.remove());

  const inFolder = (...names: string[]): string => join(folder.path, ...names);
  const keys = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of store.list({ prefix: '' })) found.push(key);
    return found;
  };

  it('is what openBlobStore opens by default, without making a bucket client', async () => {
    const log = await createLog({ level: 'silent', pretty: false });
    const opened = await openBlobStore({ backend: 'disk', folder: inFolder('made/on/the/way'), log });
    expect(opened.backend).toBe('disk');
    await opened.check();
    await opened.close();
  });

  it('keeps files and folders to their owner', async () => {
    await store.put('p/files/a', pattern(10));
    for (const [name, mode] of [
      ['p', 0o700],
      ['p/files', 0o700],
      ['.tmp', 0o700],
      ['p/files/a', 0o600],
    ] as const) {
      expect((await stat(inFolder(name))).mode & 0o777, name).toBe(mode);
    }
  });

  it('makes deep folders and removes them with their last blob', async () => {
    const deep = Array.from({ length: 40 }, (_, depth) => `level-${depth}`).join('/');
    await store.put(`${deep}/blob`, pattern(10));
    await store.put('level-0/level-1/neighbour', pattern(10));
    expect(await keys()).toEqual([`${deep}/blob`, 'level-0/level-1/neighbour']);
    await store.delete(`${deep}/blob`);
    expect(await readdir(inFolder('level-0', 'level-1'))).toEqual(['neighbour']);
    await store.deleteMany(['level-0/level-1/neighbour']);
    expect(await readdir(folder.path)).toEqual(['.tmp']);
  });

  it('tells a blob that was removed by hand from one that was cut', async () => {
    await store.put('a/gone', pattern(100));
    await unlink(inFolder('a', 'gone'));
    await expect(store.get('a/gone')).rejects.toBeInstanceOf(BlobMissing);
    await rmdir(inFolder('a'));
    await expect(store.get('a/gone')).rejects.toBeInstanceOf(BlobMissing);

    await store.put('b/cut', pattern(4 * 1024 * 1024));
    const { body } = await store.get('b/cut');
    await truncate(inFolder('b', 'cut'), 1_000_000);
    await expect(buffer(body)).rejects.toBeInstanceOf(BlobTruncated);
    await expect(store.get('b/cut', { range: { start: 0, end: 1_000_000 } })).rejects.toBeInstanceOf(
      BlobTruncated,
    );
  });

  it('cannot hold a blob where another has its folder', async () => {
    await store.put('a/b', pattern(1));
    await expect(store.put('a', pattern(1))).rejects.toBeInstanceOf(InvalidKey);
    await expect(store.put('a/b/c', pattern(1))).rejects.toBeInstanceOf(InvalidKey);
    await expect(store.put('a/b/c/d', pattern(1))).rejects.toBeInstanceOf(InvalidKey);
    await expect(store.get('a/b/c')).rejects.toBeInstanceOf(BlobMissing);
    await store.delete('a/b/c');
    expect(await keys()).toEqual(['a/b']);
    expect(await folder.temporaries()).toEqual([]);
  });

  it('frees every descriptor', { timeout: 5_000 }, async () => {
    const open = async (): Promise<number> => (await readdir('/dev/fd')).length;
    await store.put('a', pattern(1024 * 1024));
    const before = await open();
    for (let round = 0; round < 20; round++) {
      (await store.get('a')).body.destroy();
      await store.get('a', { range: { start: 0, end: 2 ** 30 } }).catch(() => undefined);
      await store.put('b', inChunks(pattern(10), 5), { size: 11 }).catch(() => undefined);
      await store.put('a/b', pattern(10)).catch(() => undefined);
      const listing = store.list({ prefix: '' })[Symbol.asyncIterator]();
      await listing.next();
      await listing.return?.();
    }
    await expect.poll(open).toBe(before);
  });

  describe('with symbolic links inside', () => {
    let outside: BlobFolder;
    beforeEach(async () => {
      outside = await makeBlobFolder();
      await writeFile(join(outside.path, 'secret'), 'secret');
      await mkdir(join(outside.path, 'inner'));
      await symlink(outside.path, inFolder('link'));
      await mkdir(inFolder('real'));
      await symlink(join(outside.path, 'secret'), inFolder('real', 'secret'));
    });
    afterEach(() => outside.remove());

    it('neither reads nor writes through a linked folder', async () => {
      for (const key of ['link/secret', 'link/inner/new', 'link/new/deeper/still']) {
        await expect(store.put(key, pattern(5)), key).rejects.toBeInstanceOf(StoreUnavailable);
        await expect(store.put(key, inChunks(pattern(5), 2)), key).rejects.toThrow(
          /symbolic link|there is no/,
        );
      }
      for (const key of ['link/secret', 'link/inner/new']) {
        await expect(store.get(key), key).rejects.toBeInstanceOf(StoreUnavailable);
        await expect(store.stat(key), key).rejects.toBeInstanceOf(StoreUnavailable);
        await expect(store.delete(key), key).rejects.toBeInstanceOf(StoreUnavailable);
        expect(await store.deleteMany([key])).toHaveLength(1);
      }
      await expect(store.list({ prefix: 'link/' })[Symbol.asyncIterator]().next()).rejects.toThrow(
        /symbolic link/,
      );
      expect(await keys()).toEqual([]);
      expect((await readdir(outside.path)).sort()).toEqual(['inner', 'secret']);
      expect(await readFile(join(outside.path, 'secret'), 'utf8')).toBe('secret');
      expect(await folder.temporaries()).toEqual([]);
    });

    it('takes a linked file for no blob, and replaces the link, not its target', async () => {
      await expect(store.get('real/secret')).rejects.toBeInstanceOf(BlobMissing);
      expect(await store.stat('real/secret')).toBeUndefined();
      await store.put('real/secret', Buffer.from('ours'));
      expect(await readFile(join(outside.path, 'secret'), 'utf8')).toBe('secret');
      expect((await buffer((await store.get('real/secret')).body)).toString()).toBe('ours');
    });
  });

  describe('opening', () => {
    it('removes temporaries of dead processes and old ones of unknown origin, and no others', async () => {
      // A put of this process is under way while the store is opened once more.
      const body = new Readable({ read: () => undefined });
      const put = store.put('a/live', body);
      await expect.poll(() => folder.temporaries()).toHaveLength(1);
      const [own = ''] = await folder.temporaries();
      const [scope = '', , started = ''] = own.split('-');
      const dead = `${scope}-${process.pid}-${Number(started) - 1}-${'0'.repeat(24)}`;
      const elsewhere = `${'f'.repeat(12)}-1-1-${'1'.repeat(24)}`;
      const old = `${'f'.repeat(12)}-1-1-${'2'.repeat(24)}`;
      for (const name of [dead, elsewhere, old, 'strange']) await writeFile(inFolder('.tmp', name), 'x');
      const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
      await utimes(inFolder('.tmp', old), longAgo, longAgo);

      await openDiskStore({ folder: folder.path });
      expect((await folder.temporaries()).sort()).toEqual([elsewhere, own, 'strange'].sort());
      expect(await keys()).toEqual([]);
      expect(await store.removeStaleTemporaries(-60_000)).toBe(2);
      expect(await folder.temporaries()).toEqual([own]);

      body.push('whole');
      body.push(null);
      expect(await put).toEqual({ size: 5 });
    });

    it('removes probes that were left behind long ago', async () => {
      await store.put('.mediablobkit/probes/old', pattern(1));
      await store.put('.mediablobkit/probes/young', pattern(1));
      const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
      await utimes(inFolder('.mediablobkit', 'probes', 'old'), longAgo, longAgo);
      await openDiskStore({ folder: folder.path });
      expect(await keys()).toEqual(['.mediablobkit/probes/young']);
    });

    it('follows a link that is the root itself', async () => {
      const link = `${folder.path}-link`;
      await symlink(folder.path, link);
      try {
        const linked = await openDiskStore({ folder: link });
        await linked.put('a/b', pattern(3));
        expect(await store.stat('a/b')).toMatchObject({ size: 3 });
      } finally {
        await unlink(link);
      }
    });

    it('refuses with a sentence what is no usable folder', async () => {
      await writeFile(inFolder('file'), 'x');
      await expect(openDiskStore({ folder: inFolder('file') })).rejects.toThrow(
        /^the blob folder .* cannot be used/,
      );
      await expect(openDiskStore({ folder: inFolder('file', 'below') })).rejects.toBeInstanceOf(
        StoreUnavailable,
      );
      await mkdir(inFolder('other'));
      await symlink(tmpdir(), inFolder('other', '.tmp'));
      await expect(openDiskStore({ folder: inFolder('other') })).rejects.toThrow(
        /must be an ordinary folder/,
      );
    });
  });

  describe('its check', () => {
    it('notices that the folder was replaced, as an unmounted volume does', async () => {
      const aside = `${folder.path}-aside`;
      await rename(folder.path, aside);
      await expect(store.check()).rejects.toBeInstanceOf(StoreUnavailable);
      await mkdir(folder.path);
      await expect(store.check()).rejects.toThrow('replaced or unmounted');
      await expect(store.put('a', pattern(1))).rejects.toBeInstanceOf(StoreUnavailable);
      expect(await readdir(folder.path)).toEqual([]);
      await rm(folder.path, { recursive: true });
      await rename(aside, folder.path);
      await store.check();
    });

    it.skipIf(process.getuid?.() === 0)(
      'notices that the folder may not be written to [needs not to be root]',
      async () => {
        await chmod(inFolder('.tmp'), 0o500);
        await expect(store.check()).rejects.toBeInstanceOf(StoreUnavailable);
        await chmod(inFolder('.tmp'), 0o700);
      },
    );
  });
});

describe.skipIf(!canMount())('the disk store on a full disk [needs root and mount]', () => {
  const size = 4 * 1024 * 1024;
  let folder: BlobFolder;
  let store: BlobStore;
  beforeAll(async () => {
    folder = await makeBlobFolder();
    run('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder.path);
    store = await openDiskStore({ folder: folder.path });
  });
  afterAll(async () => {
    run('umount', folder.path);
    await folder.remove();
  });

  it('refuses with StoreFull, keeps nothing of the put and everything else', async () => {
    await store.put('kept', pattern(1024 * 1024));
    const stream = inChunks(pattern(2 * size), 65_536);
    await expect(store.put('stream', stream)).rejects.toBeInstanceOf(StoreFull);
    expect(stream.destroyed).toBe(true);
    await expect(store.put('buffer', pattern(size))).rejects.toBeInstanceOf(StoreFull);
    await expect(store.put('kept', pattern(size))).rejects.toBeInstanceOf(StoreFull);
    expect(await folder.temporaries()).toEqual([]);
    expect(await store.stat('stream')).toBeUndefined();
    expect(await store.stat('kept')).toMatchObject({ size: 1024 * 1024 });
    await store.put('small', pattern(1000));
    await store.check();
  });

  it('says so at once, also when the source has fallen silent', async () => {
    const silent = new Readable({ read: () => undefined });
    silent.push(pattern(2 * size));
    await expect(store.put('silent', silent)).rejects.toBeInstanceOf(StoreFull);
    expect(silent.destroyed).toBe(true);
  });

  it('fails its check', async () => {
    const room = 4096;
    for (let at = size; at >= room; at /= 2)
      await store.put(`fill/${at}`, pattern(at)).catch(() => undefined);
    await writeFile(join(folder.path, 'rest'), Buffer.alloc(size)).catch(() => undefined);
    await expect(store.check()).rejects.toBeInstanceOf(StoreFull);
  });
});

describe('a failed system call', () => {
  it.each([
    ['ENOSPC', StoreFull],
    ['EDQUOT', StoreFull],
    ['EMFILE', StoreUnavailable],
    ['EIO', StoreUnavailable],
    ['EROFS', StoreUnavailable],
    ['EXDEV', StoreUnavailable],
    ['ENAMETOOLONG', InvalidKey],
  ])('%s is told by the class of its error', (code, kind) => {
    const cause = Object.assign(new Error(`${code}: went wrong`), { code });
    expect(storeError(cause, 'key')).toBeInstanceOf(kind);
    expect(storeError(cause, 'key').cause).toBe(cause);
  });
});

function run(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program}: ${stderr}`);
}

/** Whether this process may mount: root in a container often may not. */
function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const point = mkdtempSync(join(tmpdir(), 'mediablobkit-mount-'));
  try {
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', point]).status !== 0) return false;
    run('umount', point);
    return true;
  } finally {
    rmdirSync(point);
  }
}
