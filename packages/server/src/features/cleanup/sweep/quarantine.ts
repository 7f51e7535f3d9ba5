import { BlobMissing, type BlobStore } from '../../../foundation/blobs/blob-store.js';
import { quarantineFolder } from '../../../foundation/blobs/keys.js';
import type { Db } from '../../../foundation/database/connect.js';
import { forgetMissing } from '../integrity/damage-queries.js';
import { livingKeys } from '../queries.js';
import { namedKeys } from './name-queries.js';
import {
  dueQuarantined,
  forgetQuarantined,
  noteFailure,
  noteMove,
  noteMoved,
  quarantinedAfter,
  type MovedBlob,
  type QuarantinedRow,
} from './quarantine-queries.js';

export interface QuarantineOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly signal: AbortSignal;
}

/** What became of some blobs in quarantine. */
export interface Tended {
  /** Back under their own keys, because a row names them. */
  readonly restored: number;
  readonly removed: number;
  readonly failures: number;
}

/** Rows of one query, and keys of one look at the living ones. */
const pageRows = 200;

/**
 * Moves a blob that nothing names out of the way: row, copy, look, delete, look. Whatever is broken off in between
 * leaves the blob under at least one of the two keys, and a row that says so.
 * @returns `gone` when it is not there any more, or something names it after all.
 */
export async function quarantineBlob(
  { db, blobs, signal }: QuarantineOptions,
  blob: MovedBlob,
): Promise<'quarantined' | 'gone'> {
  const { key, size } = blob;
  const aside = quarantineFolder + key;
  if ((await namedKeys(db, [key])).size > 0) return 'gone';
  const there = await blobs.stat(key);
  if (!there) return (await blobs.stat(aside)) ? 'quarantined' : 'gone';
  // Somebody has put other bytes there since it was listed.
  if (there.size !== size) return 'gone';
  await noteMove(db, blob);
  try {
    await blobs.copy(key, aside, { size, signal });
  } catch (error) {
    if (!(error instanceof BlobMissing)) throw error;
    await forgetQuarantined(db, [key]);
    return 'gone';
  }
  if ((await namedKeys(db, [key])).size > 0) {
    await blobs.delete(aside);
    await forgetQuarantined(db, [key]);
    return 'gone';
  }
  await blobs.delete(key);
  await noteMoved(db, key);
  // A row that appeared while it went gets its blob back at once.
  if ((await livingKeys(db, [key])).size === 0) return 'quarantined';
  await restoreBlob({ db, blobs, signal }, key);
  return 'gone';
}

/** Brings a blob back under its own key, unless there is one already. */
async function restoreBlob({ db, blobs, signal }: QuarantineOptions, key: string): Promise<void> {
  const aside = quarantineFolder + key;
  if (!(await blobs.stat(key))) {
    try {
      await blobs.copy(aside, key, { signal });
    } catch (error) {
      // Neither here nor there: the row is one without a blob, which the scan reports.
      if (!(error instanceof BlobMissing)) throw error;
      await forgetQuarantined(db, [key]);
      return;
    }
    await forgetMissing(db, key);
  }
  await blobs.delete(aside);
  await forgetQuarantined(db, [key]);
}

/** Brings back every blob whose key a living row names, and sees how moves that were broken off have ended. */
export async function restoreLiving(options: QuarantineOptions): Promise<Tended> {
  const { db, blobs, signal } = options;
  const tended = { restored: 0, removed: 0, failures: 0 };
  for (let after = ''; ;) {
    const page = await quarantinedAfter(db, after, pageRows);
    const living = await livingKeys(
      db,
      page.map(({ key }) => key),
    );
    for (const { key, moved_at: movedAt } of page) {
      signal.throwIfAborted();
      if (living.has(key)) {
        await attempt(db, key, tended, async () => {
          await restoreBlob(options, key);
          tended.restored += 1;
        });
      } else if (movedAt === null && !(await blobs.stat(key))) {
        if (await blobs.stat(quarantineFolder + key)) await noteMoved(db, key);
        else await forgetQuarantined(db, [key]);
      }
    }
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return tended;
    after = last.key;
  }
}

/** Removes blobs that have been in quarantine for `seconds` and that still no row names; `cap` of them at most. */
export async function removeExpired(
  options: QuarantineOptions,
  seconds: number,
  cap: number,
): Promise<Tended> {
  const { db, signal } = options;
  const tended = { restored: 0, removed: 0, failures: 0 };
  const failed = new Set<string>();
  for (let taken = 0; taken < cap;) {
    signal.throwIfAborted();
    const due = await dueQuarantined(db, seconds, Math.min(pageRows, cap - taken), failed);
    if (due.length === 0) break;
    taken += due.length;
    await removePage(options, due, tended, failed);
  }
  return tended;
}

async function removePage(
  options: QuarantineOptions,
  due: readonly QuarantinedRow[],
  tended: { restored: number; removed: number; failures: number },
  failed: Set<string>,
): Promise<void> {
  const { db, blobs } = options;
  const keys = due.map(({ key }) => key);
  const living = await livingKeys(db, keys);
  for (const key of living) {
    await attempt(db, key, tended, async () => {
      await restoreBlob(options, key);
      tended.restored += 1;
    });
  }
  const worthless = keys.filter((key) => !living.has(key));
  const refused = await blobs.deleteMany(worthless.map((key) => quarantineFolder + key));
  for (const { key: aside, reason } of refused) {
    const key = aside.slice(quarantineFolder.length);
    failed.add(key);
    tended.failures += 1;
    await noteFailure(db, key, reason);
  }
  const removed = worthless.filter((key) => !failed.has(key));
  await forgetQuarantined(db, removed);
  tended.removed += removed.length;
  // What could not be brought back is not asked for again in this run.
  for (const key of living) failed.add(key);
}

/** A blob that the store does not let go keeps no other from its turn; the next sweep tries it again. */
async function attempt(
  db: Db,
  key: string,
  tended: { failures: number },
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    tended.failures += 1;
    await noteFailure(db, key, error instanceof Error ? error.message : String(error));
  }
}
