import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { lstat, mkdir, realpath, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Log } from '../log.js';
import {
  BlobMissing,
  StoreUnavailable,
  type Blob,
  type BlobStat,
  type BlobStore,
  type GetOptions,
} from './blob-store.js';
import { abortable, assertRange, bodyOfBuffer, windowOf } from './body-window.js';
import { errnoOf, isAbsent, storeError } from './disk-errors.js';
import { folderMode, foldersUnder, syncFolder } from './disk-folders.js';
import { fileBody, openToRead, readFully, readFullySync, standsAt } from './disk-file.js';
import { paceOf } from './disk-pace.js';
import { createDiskCopy } from './disk-copy.js';
import { createDiskMultipart } from './disk-multipart.js';
import { openPartsFolder } from './disk-parts.js';
import { createPublishing } from './disk-publish.js';
import { createDiskPut } from './disk-put.js';
import { openTemporaries } from './disk-temporaries.js';
import { walk } from './disk-walk.js';
import { assertKey, isKey } from './keys.js';
import { probeStore, removeOldProbes } from './probe.js';

export interface DiskStoreOptions {
  /** The root; made when it is missing. It may be a symbolic link, nothing inside it may. */
  readonly folder: string;
  readonly log?: Log;
}

/** O_NONBLOCK: opening a pipe that somebody put there would hang for ever. */
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Up to this size a body is read in one call and its descriptor closed before anybody sees the blob. */
const eagerBytes = 256 * 1024;
/** Temporaries whose writer cannot be judged (another machine or container): nobody uploads silently for an hour. */
const unjudgedMs = 60 * 60 * 1000;
/** The server itself stands in for signed requests. */
const capabilities = {
  conditionalPut: true,
  multipart: true,
  sealedMultipart: true,
  signedUrls: false,
  signedForms: false,
} as const;

/**
 * Blobs as files below one folder, which any number of processes of one machine may share. A put writes a
 * temporary file, makes it durable and renames it into place, so a key holds nothing or one whole put.
 * Rejects with `StoreUnavailable`, whose message is a sentence for a person, when the folder cannot be used.
 */
export async function openDiskStore({ folder, log }: DiskStoreOptions): Promise<BlobStore> {
  const { root, temporaryFolder } = await openRoot(folder);
  const identity = await stat(root);
  const folders = foldersUnder(root);
  const pace = await paceOf(root);
  const temporaries = await openTemporaries(temporaryFolder);
  const uploads = openPartsFolder(join(root, '.multipart'), folders);
  const publishing = createPublishing({ folders, temporaries, log });
  const parts = { folders, temporaries, publishing, uploads, log };

  const removeStaleTemporaries: BlobStore['removeStaleTemporaries'] = async (
    olderThanMs,
    keep = () => false,
  ) => {
    try {
      const removed = await temporaries.removeStale(olderThanMs);
      const dropped = await uploads.removeStale(Date.now() - olderThanMs, keep);
      return removed + dropped + (await removeOldProbes(self));
    } catch (error) {
      throw storeError(error, '');
    }
  };

  const get = async (key: string, { range, signal, lend }: GetOptions = {}): Promise<Blob> => {
    assertKey(key);
    assertRange(range);
    signal?.throwIfAborted();
    const path = folders.pathOf(key);
    const atOnce = pace.atOnce();
    const began = performance.now();
    let descriptor: number | undefined;
    try {
      descriptor = atOnce ? openSync(path, readFlags) : await openToRead(path, readFlags);
      if (!standsAt(descriptor, path) && !(await folders.exists(dirname(path), key))) throw missing(key);
      // At once: what it tells is in memory since the opening. So is what closing does to a file that was only read.
      const info = fstatSync(descriptor);
      if (!info.isFile()) throw missing(key);
      const window = windowOf(range, info.size, key);
      const blob = { key, size: info.size, lastModified: info.mtime };
      if (window.length > eagerBytes) {
        if (atOnce) pace.took(performance.now() - began);
        const body = fileBody(descriptor, window, key);
        descriptor = undefined;
        return { ...blob, body: abortable(body, signal) };
      }
      const bytes = atOnce
        ? readFullySync(descriptor, window, key, lend)
        : await readFully(descriptor, window, key, lend);
      if (atOnce) pace.took(performance.now() - began);
      return {
        ...blob,
        bytes,
        get body() {
          return abortable(bodyOfBuffer(bytes), signal);
        },
      };
    } catch (error) {
      if (isAbsent(error) || errnoOf(error) === 'ELOOP') {
        throw await absentOr(dirname(path), key, error);
      }
      throw storeError(error, key);
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  };

  /** A broken link among the folders is a fault of the store, not an absent blob. */
  const absentOr = async (folder: string, key: string, cause: unknown): Promise<Error> => {
    try {
      await folders.exists(folder, key);
      return missing(key, cause);
    } catch (error) {
      return storeError(error, key);
    }
  };

  const statBlob = async (key: string): Promise<BlobStat | undefined> => {
    assertKey(key);
    const path = folders.pathOf(key);
    try {
      if (!(await folders.exists(dirname(path), key))) return undefined;
      const info = await lstat(path);
      return info.isFile() ? { key, size: info.size, lastModified: info.mtime } : undefined;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw storeError(error, key);
    }
  };

  /** Unlinks one file and returns its folder, or undefined when there was no blob. */
  const remove = async (key: string): Promise<string | undefined> => {
    assertKey(key);
    const path = folders.pathOf(key);
    const parent = dirname(path);
    try {
      if (!(await folders.exists(parent, key))) return undefined;
      await unlink(path);
      return parent;
    } catch (error) {
      // EISDIR (Linux) and EPERM (POSIX) for a folder: there is no blob under the key.
      if (isAbsent(error) || errnoOf(error) === 'EISDIR') return undefined;
      if (errnoOf(error) === 'EPERM' && (await statBlob(key)) === undefined) return undefined;
      throw storeError(error, key);
    }
  };

  /** Makes removals from the folder last, after removing it and those above it as far as they are empty now. */
  const settle = async (folder: string, key: string): Promise<void> => {
    try {
      await syncFolder(await folders.removeEmpty(folder));
    } catch (error) {
      throw storeError(error, key);
    }
  };

  const deleteMany: BlobStore['deleteMany'] = async (keys) => {
    const failed: { key: string; reason: string }[] = [];
    // One sync per folder instead of one per blob; a blob counts as removed only after it.
    const removed = new Map<string, string[]>();
    for (const key of keys) {
      try {
        const folder = await remove(key);
        if (folder === undefined) continue;
        const neighbours = removed.get(folder);
        if (neighbours) neighbours.push(key);
        else removed.set(folder, [key]);
      } catch (error) {
        failed.push({ key, reason: reasonOf(error) });
      }
    }
    for (const [folder, neighbours] of removed) {
      try {
        await settle(folder, '');
      } catch (error) {
        for (const key of neighbours) failed.push({ key, reason: reasonOf(error) });
      }
    }
    return failed;
  };

  const deleteOne = async (key: string): Promise<void> => {
    const folder = await remove(key);
    if (folder !== undefined) await settle(folder, key);
  };

  async function* list({ prefix, after }: { prefix: string; after?: string }): AsyncGenerator<BlobStat> {
    // Whole folders of the prefix are entered directly instead of being searched for.
    const inside = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    if (inside !== '' && !isKey(`${inside}x`)) return;
    try {
      const folder = join(root, inside.slice(0, -1));
      if (await folders.exists(folder, prefix)) yield* walk(folder, inside, { prefix, after });
    } catch (error) {
      throw storeError(error, prefix);
    }
  }

  const self: BlobStore = {
    backend: 'disk',
    put: createDiskPut(publishing),
    get,
    stat: statBlob,
    delete: deleteOne,
    deleteMany,
    list,
    multipart: createDiskMultipart(parts),
    copy: createDiskCopy(parts),
    presignGet: () => Promise.resolve(undefined),
    signDirect: () => Promise.resolve(undefined),
    capabilities: () => Promise.resolve(capabilities),
    removeStaleTemporaries,
    check: async () => {
      const now = await stat(root).catch((error: unknown) => {
        throw storeError(error, '');
      });
      // An unmounted volume leaves an empty folder of the same name; writing there would fill the wrong disk.
      if (now.dev !== identity.dev || now.ino !== identity.ino) {
        throw new StoreUnavailable('the blob folder was replaced or unmounted since the start', '');
      }
      await probeStore(self);
    },
    close: () => Promise.resolve(),
  };

  // Of puts in parts nothing is known here: somebody may go on with them for days.
  const removed = await removeStaleTemporaries(unjudgedMs, () => true);
  if (removed > 0) log?.info({ removed }, 'removed temporary files of processes that ended');
  return self;
}

async function openRoot(folder: string): Promise<{ root: string; temporaryFolder: string }> {
  try {
    await mkdir(folder, { recursive: true, mode: folderMode });
    const root = await realpath(folder);
    const temporaryFolder = join(root, '.tmp');
    await mkdir(temporaryFolder, { recursive: true, mode: folderMode });
    const [rootInfo, temporaryInfo] = await Promise.all([stat(root), lstat(temporaryFolder)]);
    if (!temporaryInfo.isDirectory() || temporaryInfo.dev !== rootInfo.dev) {
      throw new Error(`${temporaryFolder} must be an ordinary folder on the same file system`);
    }
    return { root, temporaryFolder };
  } catch (error) {
    throw new StoreUnavailable(`the blob folder ${folder} cannot be used: ${reasonOf(error)}`, '', {
      cause: error,
    });
  }
}

function missing(key: string, cause?: unknown): BlobMissing {
  return new BlobMissing('there is no blob under this key', key, { cause });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
