import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Log } from '../../foundation/log.js';
import { countRows } from '../../foundation/database/count.js';
import { forgetMultipart, silentUploads } from '../files/upload-queries.js';
import { inBatches } from './batches.js';
import { endedUploads, expireOpenUploads, forgetUploads, forgottenMultiparts } from './queries.js';
import type { Count, Counts } from './recorded.js';
import { storeFault } from './store-identity.js';

export interface OpenUploadsOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Seconds of silence after which an unfinished upload is given up. */
  readonly uploadExpirySeconds: number;
}

export interface OpenUploadsRun {
  /** Rows of one transaction. */
  readonly batch: number;
  /** Most uploads of one run. */
  readonly cap: number;
  /** Seconds within which somebody may still be writing the keys of an upload that is given up. */
  readonly againAfter: number;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly count: Count;
}

/**
 * Ends uploads of several requests: those of which nobody has heard for too long are given up; the parts of all that
 * were given up are dropped from the store, whose own rules for that not every store has; and those that have been
 * over for a day are forgotten. A row goes on naming its parts until the store has dropped them.
 */
export async function endOpenUploads(
  { db, blobs, uploadExpirySeconds }: OpenUploadsOptions,
  { batch, cap, againAfter, signal, log, count }: OpenUploadsRun,
): Promise<void> {
  let expired = 0;
  while (expired < cap && !signal.aborted) {
    const limit = Math.min(batch, cap - expired);
    const given = await expireOpenUploads(db, { expirySeconds: uploadExpirySeconds, againAfter, limit });
    expired += given;
    if (given < limit) break;
  }
  count('openUploads', expired);
  if (expired > 0) log.info({ expired }, 'uploads of several requests expired');

  const fault = await storeFault({ db, blobs });
  if (fault !== undefined) {
    log.error(fault);
    return;
  }
  const failures: unknown[] = [];
  for (const { id, key, multipartId } of await forgottenMultiparts(db).limit(cap).execute()) {
    if (signal.aborted) return;
    try {
      await blobs.multipart.abort(key, multipartId);
      await forgetMultipart(db, id);
      count('multiparts', 1);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) {
    log.warn(
      { err: failures[0], count: failures.length },
      'parts could not be dropped; they are tried again',
    );
  }
  await inBatches(
    { signal, batch, cap },
    (limit) => forgetUploads(db, limit),
    (rows) => count('forgotten', rows),
  );
}

/** What a run would take now. */
export async function dueOpenUploads(
  { db, uploadExpirySeconds }: OpenUploadsOptions,
  cap: number,
): Promise<Counts> {
  return {
    openUploads: await countRows(db, silentUploads(db, uploadExpirySeconds), cap),
    multiparts: await countRows(db, forgottenMultiparts(db), cap),
    forgotten: await countRows(db, endedUploads(db), cap),
  };
}
