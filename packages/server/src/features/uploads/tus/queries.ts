import { sql } from 'kysely';

import type { Part } from '../../../foundation/blobs/blob-store.js';
import type { Db, Tx } from '../../../foundation/database/connect.js';
import { UploadLost } from '../../files/intake-queries.js';
import { bury } from '../../files/queries.js';
import type { UploadRow } from '../../files/upload-queries.js';

const inSeconds = (seconds: number) => sql<Date>`now() + make_interval(secs => ${seconds}::float8)`;

/** Takes the lock of an upload that is free, or whose holder has been silent for the lease. */
export async function takeLock(
  db: Db,
  lock: {
    readonly projectId: string;
    readonly uploadId: string;
    readonly holder: string;
    readonly leaseSeconds: number;
  },
): Promise<UploadRow | 'held' | 'absent'> {
  const taken = await db
    .updateTable('uploads')
    .set({ lock_holder: lock.holder, lock_until: inSeconds(lock.leaseSeconds), lock_wanted: null })
    .where('id', '=', lock.uploadId)
    .where('project_id', '=', lock.projectId)
    .where('protocol', '=', 'tus')
    .where((eb) => eb.or([eb('lock_holder', 'is', null), eb('lock_until', '<', sql<Date>`now()`)]))
    .returningAll()
    .executeTakeFirst();
  if (taken) return taken;
  const row = await db
    .selectFrom('uploads')
    .select('id')
    .where('id', '=', lock.uploadId)
    .where('project_id', '=', lock.projectId)
    .where('protocol', '=', 'tus')
    .executeTakeFirst();
  return row ? 'held' : 'absent';
}

/** Tells the holder, wherever it is, that somebody waits. */
export async function wantLock(db: Db, uploadId: string, newcomer: string): Promise<void> {
  await db
    .updateTable('uploads')
    .set({ lock_wanted: newcomer })
    .where('id', '=', uploadId)
    .where('lock_wanted', 'is', null)
    .execute();
}

export async function releaseLock(db: Db, uploadId: string, holder: string): Promise<void> {
  await db
    .updateTable('uploads')
    .set({ lock_holder: null, lock_until: null, lock_wanted: null })
    .where('id', '=', uploadId)
    .where('lock_holder', '=', holder)
    .execute();
}

/** @returns the holders that still hold their locks, and whether somebody waits. */
export async function renewLocks(
  db: Db,
  holders: readonly string[],
  leaseSeconds: number,
): Promise<ReadonlyMap<string, { readonly wanted: boolean }>> {
  if (holders.length === 0) return new Map();
  const rows = await db
    .updateTable('uploads')
    .set({ lock_until: inSeconds(leaseSeconds) })
    .where('id', 'in', (eb) =>
      // One order for everybody who locks several rows.
      eb.selectFrom('uploads').select('id').where('lock_holder', 'in', holders).orderBy('id').forUpdate(),
    )
    .where('lock_holder', 'in', holders)
    .returning(['lock_holder', 'lock_wanted'])
    .execute();
  return new Map(
    rows.flatMap((row) =>
      row.lock_holder === null ? [] : [[row.lock_holder, { wanted: row.lock_wanted !== null }]],
    ),
  );
}

/** Keeps `Upload-Metadata` as it came. */
export async function keepUploadMetadata(tx: Tx, uploadId: string, text: string | null): Promise<void> {
  await tx.updateTable('uploads').set({ upload_metadata: text }).where('id', '=', uploadId).execute();
}

/** The parts that are in the store, by number. */
export async function partsOf(db: Db | Tx, uploadId: string): Promise<readonly Part[]> {
  return db
    .selectFrom('upload_parts')
    .select(['number', 'size', 'etag'])
    .where('upload_id', '=', uploadId)
    .orderBy('number')
    .execute();
}

/** What a request has learned or stored of an upload; written only by whoever holds the lock. */
export type Progress = Partial<
  Pick<
    UploadRow,
    | 'size'
    | 'staging_key'
    | 'mime_type'
    | 'width'
    | 'height'
    | 'multipart_id'
    | 'part_bytes'
    | 'received_bytes'
    | 'status'
  >
>;

/**
 * Writes progress of an open upload.
 * @throws UploadLost when the lock is somebody else's by now, or the upload is over.
 */
export async function writeProgress(
  db: Db | Tx,
  uploadId: string,
  holder: string,
  progress: Progress,
): Promise<void> {
  const written = await db
    .updateTable('uploads')
    .set({ ...progress, active_at: sql<Date>`now()` })
    .where('id', '=', uploadId)
    .where('lock_holder', '=', holder)
    .where('status', '=', 'open')
    .executeTakeFirst();
  if (written.numUpdatedRows !== 1n) throw new UploadLost('the upload is not this request’s any more');
}

/** Records parts that are in the store now. A part of the same number that never counted is replaced. */
export async function addParts(tx: Tx, uploadId: string, parts: readonly Part[]): Promise<void> {
  if (parts.length === 0) return;
  await tx
    .insertInto('upload_parts')
    .values(parts.map(({ number, size, etag }) => ({ upload_id: uploadId, number, size, etag })))
    .onConflict((conflict) =>
      conflict
        .columns(['upload_id', 'number'])
        .doUpdateSet((eb) => ({ size: eb.ref('excluded.size'), etag: eb.ref('excluded.etag') })),
    )
    .execute();
}

/**
 * Names the blob that the bytes behind the last part are about to be written to, before they are.
 * @returns which one it is, counted from 1; its key is made by `key`.
 */
export async function openTail(
  tx: Tx,
  uploadId: string,
  holder: string,
  key: (number: number) => string,
): Promise<string> {
  const row = await tx
    .selectFrom('uploads')
    .select(['tail_number', 'next_tail_key', 'project_id'])
    .where('id', '=', uploadId)
    .where('lock_holder', '=', holder)
    .where('status', '=', 'open')
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw new UploadLost('the upload is not this request’s any more');
  const number = row.tail_number + 1;
  const next = key(number);
  await tx
    .updateTable('uploads')
    .set({ tail_number: number, next_tail_key: next })
    .where('id', '=', uploadId)
    .execute();
  await buryUnwritten(tx, row.project_id, row.next_tail_key);
  return next;
}

/** The tail that counts from now on: the one that has just been written, or none. The one before is buried. */
export async function settleTail(tx: Tx, uploadId: string, key: string | null): Promise<void> {
  const row = await tx
    .selectFrom('uploads')
    .select(['tail_key', 'next_tail_key', 'project_id'])
    .where('id', '=', uploadId)
    .forUpdate()
    .executeTakeFirstOrThrow();
  await tx
    .updateTable('uploads')
    .set({ tail_key: key, next_tail_key: null })
    .where('id', '=', uploadId)
    .execute();
  const reason = 'upload went on';
  if (row.tail_key !== null && row.tail_key !== key) {
    await bury(tx, [{ key: row.tail_key, projectId: row.project_id, reason }]);
  }
  if (row.next_tail_key !== key) await buryUnwritten(tx, row.project_id, row.next_tail_key);
}

/** A tail whose put has failed, or was broken off with its process. */
async function buryUnwritten(tx: Tx, projectId: string, key: string | null): Promise<void> {
  if (key === null) return;
  await bury(tx, [{ key, projectId, reason: 'upload went on', againAfter: lateWriteSeconds }]);
}

/** Seconds within which a put of a request that has lost the upload may still arrive. */
export const lateWriteSeconds = 15 * 60;
