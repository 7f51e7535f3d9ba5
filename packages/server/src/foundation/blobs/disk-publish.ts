import { link, lstat, rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Log } from '../log.js';
import { BlobExists, InvalidKey, Unsupported } from './blob-store.js';
import { errnoOf, isAbsent, storeError } from './disk-errors.js';
import { syncFolder, type Folders } from './disk-folders.js';
import type { Temporaries, Temporary } from './disk-temporaries.js';

/** How often a put makes its folder anew when deletes of its last neighbours keep removing it. */
const folderAttempts = 100;
/** What file systems without hard links answer to one. */
const noLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** How a finished file comes under its key, for all that makes blobs: put, copy, the completion of parts. */
export interface Publishing {
  /** Moves a finished, durable file under its key and makes the new name durable. */
  move(path: string, key: string, options?: { readonly ifAbsent?: boolean | undefined }): Promise<void>;
  /** Fills a temporary file and moves it under the key; leaves nothing behind when either fails. */
  fill(
    key: string,
    write: (handle: FileHandle) => Promise<number>,
    options?: { readonly ifAbsent?: boolean | undefined },
  ): Promise<number>;
}

export interface PublishingParts {
  readonly folders: Folders;
  readonly temporaries: Temporaries;
  readonly log: Log | undefined;
}

export function createPublishing({ folders, temporaries, log }: PublishingParts): Publishing {
  const move: Publishing['move'] = async (from, key, { ifAbsent = false } = {}) => {
    const path = folders.pathOf(key);
    const parent = dirname(path);
    for (let attempt = 1; ; attempt++) {
      if (!(await folders.exists(parent, key))) await folders.make(parent, key);
      try {
        if (ifAbsent) await linkInto(from, path, key);
        else await rename(from, path);
        break;
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === 'EISDIR' || errno === 'ENOTEMPTY' || errno === 'EEXIST') {
          throw new InvalidKey('a folder of other blobs stands where the key needs a file', key, {
            cause: error,
          });
        }
        if (errno === 'ENOTDIR') {
          throw new InvalidKey('a blob stands where the key needs a folder', key, { cause: error });
        }
        // A delete of the folder's last blob removed the folder between the two calls.
        if (errno !== 'ENOENT' || attempt === folderAttempts) throw error;
      }
    }
    await syncFolder(parent);
  };

  const fill: Publishing['fill'] = async (key, write, options) => {
    const temporary = await temporaries.create().catch((error: unknown) => {
      throw storeError(error, key);
    });
    let published = false;
    try {
      const size = await write(temporary.handle);
      try {
        // Network file systems may report a full disk only now.
        await temporary.handle.close();
        await move(temporary.path, key, options);
      } catch (error) {
        throw storeError(error, key);
      }
      published = true;
      return size;
    } finally {
      if (!published) await discard(temporary, log);
    }
  };

  return { move, fill };
}

/** A rename would replace what is there; a link refuses, and of any number at once one succeeds. */
async function linkInto(from: string, path: string, key: string): Promise<void> {
  try {
    await link(from, path);
  } catch (error) {
    const errno = errnoOf(error) ?? '';
    if (noLinks.has(errno)) {
      throw new Unsupported('the file system of the blob folder has no hard links: no put if absent', key, {
        cause: error,
      });
    }
    if (errno === 'EEXIST' && !(await lstat(path)).isDirectory()) {
      throw new BlobExists('there is a blob under this key', key, { cause: error });
    }
    throw error;
  }
  await unlink(from);
}

/** Closes and removes a temporary that became nothing. Never rejects: its caller fails with a better reason. */
export async function discard(temporary: Temporary, log: Log | undefined): Promise<void> {
  try {
    await temporary.handle.close();
    await unlink(temporary.path);
  } catch (error) {
    // The file goes when this process has ended.
    if (!isAbsent(error)) log?.warn({ err: error }, 'a temporary file could not be removed');
  }
}

/** True for an error of `link` that says that the file system has none. */
export function hasNoLinks(error: unknown): boolean {
  return noLinks.has(errnoOf(error) ?? '');
}
