import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { byBytes } from './contract.suite.js';
import { makeBlobFolder, type BlobFolder } from './disk.suite.js';
import { walk } from './disk-walk.js';

const names = [
  'a',
  'a-',
  'a.b/1',
  'a.b/2',
  'a/0',
  'a/1/x',
  'a/1/y',
  'a/1.z',
  'a0',
  'b/c/d/e/f',
  'b/c/d/e-f',
  'm/ä',
  'm/z',
  'm/\uffee',
  'm/😀',
  '日本/語',
].filter((name) => name !== 'a');

describe('the walk through a disk store', () => {
  let folder: BlobFolder;
  beforeAll(async () => {
    folder = await makeBlobFolder();
    for (const name of names) {
      await mkdir(dirname(join(folder.path, name)), { recursive: true });
      await writeFile(join(folder.path, name), name);
    }
  });
  afterAll(() => folder.remove());

  const found = async (prefix: string, after: string | undefined, batchNames: number): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of walk(folder.path, '', { prefix, after, batchNames })) keys.push(key);
    return keys;
  };

  it('is ordered and complete however few names of a folder it may hold', async () => {
    for (const batchNames of [1, 2, 3, 1000]) {
      expect(await found('', undefined, batchNames), String(batchNames)).toEqual([...names].sort(byBytes));
    }
  });

  it('goes on after any key, within any prefix, in small batches too', async () => {
    for (const prefix of ['', 'a', 'a.', 'b/c/d/e', 'm/', 'x']) {
      for (const after of [...names, 'a', 'a/', 'b/c', 'm', 'm/\u{ffff}', '\u{10ffff}']) {
        const expected = names
          .filter((name) => name.startsWith(prefix) && byBytes(name, after) > 0)
          .sort(byBytes);
        expect(await found(prefix, after, 2), JSON.stringify({ prefix, after })).toEqual(expected);
      }
    }
  });

  it('passes over links, odd names and the folders of the store itself', async () => {
    await mkdir(join(folder.path, '.tmp'));
    await mkdir(join(folder.path, 'lost+found'));
    const strangers = ['.tmp/unfinished', 'lost+found/#1', 'back\\slash', 'line\nbreak'];
    for (const name of strangers) await writeFile(join(folder.path, name), 'x');
    await symlink('/', join(folder.path, 'link-to-folder'));
    await symlink('/etc/hostname', join(folder.path, 'link-to-file'));
    expect(await found('', undefined, 1000)).toEqual([...names].sort(byBytes));
  });
});
