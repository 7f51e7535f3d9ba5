import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Log } from '../../foundation/log.js';
import { claimDueKeys, dropKeys, livingKeys, putOffKey, settleKeys, type DueKey } from './queries.js';

export interface PurgeOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Keys of one call to the store; S3 takes 1,000. */
  readonly batch: number;
  /** Most keys of one run. */
  readonly cap: number;
}

export interface PurgeResult {
  readonly deleted: number;
  readonly failed: number;
  /** True when the cap ended the run, so that more is due. */
  readonly more: boolean;
}

/** Seconds for which a batch belongs to whoever took it; the store's own time limits are shorter. */
const leaseSeconds = 10 * 60;
const firstWaitSeconds = 30;
const longestWaitSeconds = 60 * 60;

/**
 * Deletes the blobs of buried keys that are due. Just before, each key is looked up once more: one that a living
 * row names is never deleted. An absent blob is success; one that the store does not let go is put off.
 */
export async function purgeDueKeys(options: PurgeOptions): Promise<PurgeResult> {
  const { db, signal, batch, cap } = options;
  let deleted = 0;
  let failed = 0;
  for (let taken = 0; taken < cap && !signal.aborted;) {
    const limit = Math.min(batch, cap - taken);
    const due = await claimDueKeys(db, limit, leaseSeconds);
    taken += due.length;
    const failures = await purgeBatch(options, due);
    failed += failures;
    deleted += due.length - failures;
    if (due.length < limit) return { deleted, failed, more: false };
  }
  return { deleted, failed, more: true };
}

/** @returns how many could not be deleted. */
async function purgeBatch({ db, blobs, log }: PurgeOptions, due: readonly DueKey[]): Promise<number> {
  if (due.length === 0) return 0;
  const living = await livingKeys(
    db,
    due.map(({ key }) => key),
  );
  if (living.size > 0) {
    log.error(
      { keys: [...living].slice(0, 10), count: living.size },
      'living keys were buried; their blobs stay',
    );
    await dropKeys(db, [...living]);
  }
  const worthless = due.filter(({ key }) => !living.has(key));
  const failures = await deleteBlobs(
    blobs,
    worthless.map(({ key }) => key),
  );
  await settleKeys(
    db,
    worthless.map(({ key }) => key).filter((key) => !failures.has(key)),
  );
  for (const { key, attempts } of worthless) {
    const reason = failures.get(key);
    if (reason === undefined) continue;
    const wait = Math.min(firstWaitSeconds * 2 ** (attempts - 1), longestWaitSeconds);
    await putOffKey(db, key, reason, wait);
  }
  if (failures.size > 0) {
    const [reason] = failures.values();
    log.warn({ count: failures.size, reason }, 'blobs could not be deleted; they are tried again');
  }
  return failures.size;
}

/** @returns the keys that could not be deleted, each with why. */
async function deleteBlobs(blobs: BlobStore, keys: readonly string[]): Promise<ReadonlyMap<string, string>> {
  try {
    const failed = await blobs.deleteMany(keys);
    return new Map(failed.map(({ key, reason }) => [key, reason]));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return new Map(keys.map((key) => [key, reason]));
  }
}
