import { sql } from 'kysely';

import type { UnfinishedMultipart } from '../../foundation/blobs/blob-store.js';
import type { Db, Tx } from '../../foundation/database/connect.js';
import { abandonFiles, unfinishedStates } from '../files/intake-queries.js';
import { abandonUploads, livingUploadStates, lockExpiredUploads } from '../files/upload-queries.js';
import { inTransaction } from '../projects/queries.js';

/**
 * Gives up uploads whose process has been silent for `staleSeconds` by the database's clock, up to `limit` of them.
 * @param againAfter seconds within which a process that is only paused may still be writing.
 * @returns how many.
 */
export async function expireUploads(
  db: Db,
  options: { readonly staleSeconds: number; readonly againAfter: number; readonly limit: number },
): Promise<number> {
  return inTransaction(db, async (tx) => {
    const stale = await staleUploads(tx, options.staleSeconds)
      .limit(options.limit)
      // A row that is locked is alive: its upload ends, or renews itself, this very moment.
      .forUpdate()
      .skipLocked()
      .execute();
    let expired = 0;
    // The counters in one order for everybody who books several.
    for (const projectId of [...new Set(stale.map((file) => file.project_id))].sort()) {
      const ids = stale.filter((file) => file.project_id === projectId).map((file) => file.id);
      const gone = await abandonFiles(tx, projectId, ids, 'upload expired', options.againAfter);
      expired += gone.length;
    }
    return expired;
  });
}

/** Files whose upload has been silent for so many seconds, those first that have been for longest. */
export function staleUploads(db: Db | Tx, staleSeconds: number) {
  return (
    db
      .selectFrom('files')
      .select(['id', 'project_id'])
      .where('status', 'in', unfinishedStates)
      .where('heartbeat_at', '<', secondsAgo(staleSeconds))
      // A file that is being verified belongs to its upload, which has a job of its own.
      .where((eb) =>
        eb.not(
          eb.exists(
            eb
              .selectFrom('uploads')
              .select('uploads.id')
              .whereRef('uploads.file_id', '=', 'files.id')
              .where('uploads.status', '=', 'completing'),
          ),
        ),
      )
      .orderBy('heartbeat_at')
  );
}

const secondsAgo = (seconds: number) => sql<Date>`now() - make_interval(secs => ${seconds}::float8)`;

/**
 * Gives up uploads of several requests of which nobody has heard for `expirySeconds`, up to `limit` of them.
 * @param againAfter seconds within which a request that is only slow may still be writing.
 * @returns how many.
 */
export async function expireOpenUploads(
  db: Db,
  options: { readonly expirySeconds: number; readonly againAfter: number; readonly limit: number },
): Promise<number> {
  return inTransaction(db, async (tx) => {
    const stale = await lockExpiredUploads(tx, options);
    let expired = 0;
    // The counters in one order for everybody who books several.
    for (const projectId of [...new Set(stale.map((upload) => upload.project_id))].sort()) {
      const ids = stale.filter((upload) => upload.project_id === projectId).map(({ id }) => id);
      const { againAfter } = options;
      const gone = await abandonUploads(tx, projectId, ids, {
        code: 'upload-gone',
        detail: 'Nothing arrived for too long.',
        againAfter,
      });
      expired += gone.length;
    }
    return expired;
  });
}

/** Parts in the store of uploads that are over. */
export function forgottenMultiparts(db: Db) {
  return db
    .selectFrom('uploads')
    .select(['id', 'staging_key as key', 'multipart_id as multipartId'])
    .where('multipart_id', 'is not', null)
    .where('status', 'in', ['completed', 'failed'])
    .orderBy('active_at')
    .$narrowType<{ multipartId: string }>();
}

/** Seconds for which an upload that is over is remembered: a client that comes back is told what became of it. */
const rememberedSeconds = 24 * 60 * 60;

/** @returns how many were forgotten, at most `limit`. */
export async function forgetUploads(db: Db, limit: number): Promise<number> {
  const gone = await db
    .deleteFrom('uploads')
    .where('id', 'in', endedUploads(db).limit(limit).forUpdate().skipLocked())
    .executeTakeFirst();
  return Number(gone.numDeletedRows);
}

/** Uploads of several requests that have been over for long enough, and whose parts are gone. */
export function endedUploads(db: Db) {
  return db
    .selectFrom('uploads')
    .select('id')
    .where('status', 'in', ['completed', 'failed'])
    .where('multipart_id', 'is', null)
    .where('active_at', '<', secondsAgo(rememberedSeconds));
}

/** A key that this process is to delete now. */
export interface DueKey {
  readonly key: string;
  readonly attempts: number;
}

const noHold = sql<boolean>`NOT EXISTS (SELECT FROM blob_holds WHERE until > now())
  AND NOT EXISTS (SELECT FROM installation WHERE deletions_paused_at IS NOT NULL)`;

/**
 * Takes up to `limit` buried keys that are due. Nobody else gets them for `leaseSeconds`; a process that dies with
 * them leaves them due after that.
 */
export async function claimDueKeys(db: Db, limit: number, leaseSeconds: number): Promise<readonly DueKey[]> {
  return db
    .updateTable('tombstones')
    .set({
      attempts: sql<number>`attempts + 1`,
      not_before: sql<Date>`now() + make_interval(secs => ${leaseSeconds}::float8)`,
    })
    .where('key', 'in', dueKeys(db).limit(limit).forUpdate().skipLocked())
    .returning(['key', 'attempts'])
    .execute();
}

/** Buried keys whose blobs go now, those first that have waited longest; none while a hold or a pause is on. */
export function dueKeys(db: Db) {
  return (
    db
      .selectFrom('tombstones')
      .select('key')
      .where('not_before', '<=', sql<Date>`now()`)
      // Asked by the statement that takes them: what it takes was buried before any hold that it does not see, so
      // no snapshot taken under such a hold names it.
      .where(noHold)
      .orderBy('not_before')
  );
}

/** Those of the keys that a living row names: originals (trash included), variants, attempts and uploads under way. */
export async function livingKeys(db: Db, keys: readonly string[]): Promise<ReadonlySet<string>> {
  if (keys.length === 0) return new Set();
  const rows = await db
    .selectFrom('files')
    .select('s3_key as key')
    .where('s3_key', 'in', keys)
    .where('status', '<>', 'aborted')
    .unionAll(
      db
        .selectFrom('variants')
        .select(sql<string>`s3_key`.as('key'))
        .where('s3_key', 'in', keys),
    )
    .unionAll(
      db
        .selectFrom('variants')
        .select(sql<string>`pending_key`.as('key'))
        .where('pending_key', 'in', keys),
    )
    .unionAll(
      db
        .selectFrom('uploads')
        .select('staging_key as key')
        .where('staging_key', 'in', keys)
        .where('status', 'in', livingUploadStates),
    )
    .unionAll(
      db
        .selectFrom('uploads')
        .select(sql<string>`tail_key`.as('key'))
        .where('tail_key', 'in', keys)
        .where('status', 'in', livingUploadStates),
    )
    .unionAll(
      db
        .selectFrom('uploads')
        .select(sql<string>`next_tail_key`.as('key'))
        .where('next_tail_key', 'in', keys)
        .where('status', 'in', livingUploadStates),
    )
    .execute();
  return new Set(rows.map((row) => row.key));
}

/**
 * The blobs of these keys are gone. Keys that somebody may still have been writing wait for their second time; the
 * others are done with.
 */
export async function settleKeys(db: Db, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await inTransaction(db, async (tx) => {
    await tx.deleteFrom('tombstones').where('key', 'in', keys).where('again_after', 'is', null).execute();
    await tx
      .updateTable('tombstones')
      .set((eb) => ({
        not_before: eb.ref('again_after').$notNull(),
        again_after: null,
        attempts: 0,
        last_error: null,
      }))
      .where('key', 'in', keys)
      .execute();
  });
}

/** Takes keys out of the queue without having deleted anything. */
export async function dropKeys(db: Db, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await db.deleteFrom('tombstones').where('key', 'in', keys).execute();
}

/** The blob of this key could not be deleted; it is tried again for ever, more and more rarely. */
export async function putOffKey(db: Db, key: string, reason: string, waitSeconds: number): Promise<void> {
  await db
    .updateTable('tombstones')
    .set({
      not_before: sql<Date>`now() + make_interval(secs => ${waitSeconds}::float8)`,
      last_error: reason.slice(0, 1000),
    })
    .where('key', '=', key)
    .execute();
}

/** Whether a put in parts is somebody's: an upload of several requests, or a file whose bytes still arrive. */
export async function isPutAlive(db: Db, { key, uploadId }: UnfinishedMultipart): Promise<boolean> {
  const { alive } = await db
    .selectNoFrom((eb) =>
      eb
        .or([
          eb.exists(
            eb
              .selectFrom('uploads')
              .select('id')
              .where('multipart_id', '=', uploadId)
              .where('status', 'in', livingUploadStates),
          ),
          eb.exists(
            eb
              .selectFrom('files')
              .select('id')
              .where('s3_key', '=', key)
              .where('status', 'in', ['uploading', 'verifying']),
          ),
        ])
        .as('alive'),
    )
    .executeTakeFirstOrThrow();
  return Boolean(alive);
}
