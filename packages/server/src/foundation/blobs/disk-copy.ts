import { constants } from 'node:fs';
import { copyFile, link, lstat, open, unlink, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import pLimit from 'p-limit';
import { BlobMissing, type BlobStore } from './blob-store.js';
import { mismatch } from './body-batches.js';
import { isAbsent, storeError } from './disk-errors.js';
import type { Folders } from './disk-folders.js';
import { hasNoLinks, type Publishing } from './disk-publish.js';
import type { Temporaries } from './disk-temporaries.js';
import { assertKey } from './keys.js';

export interface DiskCopyParts {
  readonly folders: Folders;
  readonly temporaries: Temporaries;
  readonly publishing: Publishing;
  /** Tried first; another one stands for a file system that has none. */
  readonly makeLink?: typeof link;
}

/**
 * The copy of a disk store. A file under a key is never written again, only replaced or unlinked, so a second name of
 * the same file is as good as a copy of its bytes and takes no time and no room: a gigabyte costs 0.1 ms instead of
 * seconds. Where the file system has no hard links the kernel copies, or shares the blocks where it can.
 */
export function createDiskCopy(parts: DiskCopyParts): BlobStore['copy'] {
  const { folders, temporaries, publishing, makeLink = link } = parts;
  // A copy by the kernel holds one of the four threads that all file access of the process shares, to its end.
  const copying = pLimit(1);

  const duplicate = async (from: string, to: string): Promise<void> => {
    try {
      await makeLink(from, to);
      // Its date is that of the copy: whoever looks for forgotten blobs must not take a new one for an old one.
      const now = new Date();
      await utimes(to, now, now);
    } catch (error) {
      if (!hasNoLinks(error)) throw error;
      await copying(() => copyFile(from, to, constants.COPYFILE_FICLONE));
      const handle = await open(to, 'r+');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
  };

  return async (from, to, { size, signal } = {}) => {
    assertKey(from);
    assertKey(to);
    signal?.throwIfAborted();
    const temporary = temporaries.path();
    try {
      const path = folders.pathOf(from);
      if (!(await folders.exists(dirname(path), from)) || !(await lstat(path)).isFile()) throw missing(from);
      await duplicate(path, temporary);
      const info = await lstat(temporary);
      if (!info.isFile()) throw missing(from);
      if (size !== undefined && info.size !== size) throw mismatch(from, size, String(info.size));
      signal?.throwIfAborted();
      await publishing.move(temporary, to);
      return { size: info.size };
    } catch (error) {
      signal?.throwIfAborted();
      throw isAbsent(error) ? missing(from, error) : storeError(error, from);
    } finally {
      // Moving a file to a name that it has already is no error and leaves both, as POSIX wants it.
      await unlink(temporary).catch((error: unknown) => {
        if (!isAbsent(error)) throw storeError(error, to);
      });
    }
  };
}

function missing(key: string, cause?: unknown): BlobMissing {
  return new BlobMissing('there is no blob under this key', key, { cause });
}
