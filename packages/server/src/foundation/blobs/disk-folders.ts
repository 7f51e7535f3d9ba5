import type { Dir } from 'node:fs';
import { mkdir, open, opendir, realpath, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { InvalidKey, StoreUnavailable } from './blob-store.js';
import { errnoOf, isAbsent } from './disk-errors.js';

/**
 * The owner alone may enter and read: the server hands out every byte itself, and a media folder that other
 * accounts of the machine can read would bypass its access rules.
 */
export const folderMode = 0o700;
export const fileMode = 0o600;

/**
 * The folders under a store's root. The root is a real path (no symbolic link in it), so a folder inside is
 * what its name says exactly when its own real path equals its name.
 */
export interface Folders {
  /** Path of a blob's file; the key has been checked. */
  pathOf(key: string): string;
  /** True when the folder is there; throws when a symbolic link stands anywhere between the root and it. */
  exists(folder: string, key: string): Promise<boolean>;
  /** Makes the folder and those above it, durably. */
  make(folder: string, key: string): Promise<void>;
  /** Removes the folder and those above it as far as they are empty; returns the deepest that stays. */
  removeEmpty(folder: string): Promise<string>;
}

export function foldersUnder(root: string): Folders {
  const exists = async (folder: string, key: string): Promise<boolean> => {
    let actual: string;
    try {
      actual = await realpath(folder);
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
    if (actual === folder) return true;
    throw new StoreUnavailable(
      'a symbolic link inside the blob folder leads elsewhere; replace it by the folder it stands for',
      key,
    );
  };

  const make = async (folder: string, key: string): Promise<void> => {
    // The parent is proven to be real first: mkdir would follow a link and make folders outside the root.
    const parent = dirname(folder);
    if (folder !== root && !(await exists(parent, key))) await make(parent, key);
    try {
      await mkdir(folder, { mode: folderMode });
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'EEXIST') return;
      if (errno === 'ENOTDIR')
        throw new InvalidKey('a blob stands where the key needs a folder', key, { cause: error });
      // ENOENT: a delete removed the empty parent meanwhile; the caller looks again.
      if (errno === 'ENOENT' && folder !== root) return;
      throw error;
    }
    await syncFolder(parent);
  };

  const removeEmpty = async (folder: string): Promise<string> => {
    let current = folder;
    while (current !== root) {
      try {
        await rmdir(current);
      } catch (error) {
        // Not empty, or a put made it anew: it stays. Absent: another delete was faster, its parent may be empty.
        if (!isAbsent(error)) return current;
      }
      current = dirname(current);
    }
    return root;
  };

  return { pathOf: (key) => join(root, key), exists, make, removeEmpty };
}

/** Makes the folder's entries durable. A folder that has gone meanwhile has none. */
export async function syncFolder(folder: string): Promise<void> {
  let handle;
  try {
    handle = await open(folder, 'r');
  } catch (error) {
    if (isAbsent(error)) return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Opens a folder for reading its entries; undefined when it is not there (any more). */
export async function openFolder(folder: string): Promise<Dir | undefined> {
  try {
    return await opendir(folder, { bufferSize: 512 });
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}
