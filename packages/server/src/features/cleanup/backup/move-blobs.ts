import { link, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { copyBlob, digestBlob, standardWaits, withRetries } from '../../../foundation/blobs/copy-blob.js';
import { errnoOf } from '../../../foundation/blobs/disk-errors.js';
import { assertKey } from '../../../foundation/blobs/keys.js';
import type { BlobLine } from './format.js';

export interface MoveOptions {
  readonly from: BlobStore;
  readonly to: BlobStore;
  readonly blobs: AsyncIterable<BlobLine>;
  /** The folders of both, where both are on disk and may share files: a blob's file is never written to again. */
  readonly folders?: { readonly from: string; readonly to: string };
  readonly signal: AbortSignal;
  /** Told of a blob that is not in the target as it should be, and why. */
  readonly onFailure: (key: string, reason: string) => void;
}

export interface Moved {
  /** There now that were not there, or were others. */
  readonly moved: number;
  readonly there: number;
  readonly failures: number;
}

/** Blobs under way at the same time. */
const parallel = 4;

/**
 * Brings every blob of the list into the target unless it is there, and verifies each by reading it there. The source
 * never changes.
 * @throws what ends all: StoreFull, or the signal's reason.
 */
export async function moveBlobs(options: MoveOptions): Promise<Moved> {
  const { signal, onFailure } = options;
  const tally = { moved: 0, there: 0, failures: 0 };
  const blobs = options.blobs[Symbol.asyncIterator]();
  const stop = new AbortController();
  const take = async (): Promise<void> => {
    // Generators answer in the order in which they are asked, so several may ask this one.
    for (let next = await blobs.next(); !next.done && !stop.signal.aborted; next = await blobs.next()) {
      signal.throwIfAborted();
      const { key } = next.value;
      try {
        tally[await moveOne(options, next.value)] += 1;
      } catch (error) {
        signal.throwIfAborted();
        if (errorName(error) === 'StoreFull') throw error;
        tally.failures += 1;
        onFailure(key, error instanceof Error ? error.message : String(error));
      }
    }
  };
  const takers = Array.from({ length: parallel }, take);
  try {
    await Promise.all(takers);
  } finally {
    stop.abort();
    await Promise.allSettled(takers);
    await blobs.return?.();
  }
  return tally;
}

async function moveOne(options: MoveOptions, blob: BlobLine): Promise<'moved' | 'there'> {
  const { from, to, folders, signal } = options;
  const { key, size } = blob;
  assertKey(key);
  const sha256 = Buffer.from(blob.sha256, 'hex');
  const isThere = async (): Promise<boolean> => {
    if ((await to.stat(key))?.size !== size) return false;
    const found = await digestBlob(to, key, signal);
    return found?.size === size && found.sha256.equals(sha256);
  };
  const context = { from, to, signal, waits: standardWaits, onBytes: () => undefined };
  return withRetries(context, async () => {
    if (await isThere()) return 'there';
    if (folders && (await linkFile(join(folders.from, key), join(folders.to, key)))) {
      if (await isThere()) return 'moved';
      // The link is only another name of the damaged file; a copy says what is wrong with it.
      await to.delete(key);
    }
    const { contentType } = blob;
    const copy = await copyBlob(context, key, {
      key,
      size,
      sha256,
      ...(contentType !== '' && { contentType }),
    });
    if (copy === undefined) throw new Error('the store has no such blob, though a row names it');
    return 'moved';
  });
}

/** What file systems say that have no hard links, or not from here to there; and a file that is not there. */
const unlinkable = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'ENOSYS', 'EACCES', 'ENOENT', 'EEXIST']);

async function linkFile(from: string, to: string): Promise<boolean> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (unlinkable.has(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

function errorName(error: unknown): string | undefined {
  return error instanceof Error ? error.name : undefined;
}
