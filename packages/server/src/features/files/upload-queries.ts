import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Uploads } from '../../foundation/database/tables.js';
import { claimPlace } from '../keys/upload-rules-queries.js';
import { abandonFiles, UploadLost } from './intake-queries.js';
import { bury, type FileRow } from './queries.js';
import { bookUsage, reserve, type Quota } from './usage-queries.js';

/** An upload that takes several requests. */
export type UploadRow = Selectable<Uploads>;

/** States in which bytes may still arrive or are being verified: what the row names in the store is alive. */
export const livingUploadStates = ['open', 'completing'] as const;

export interface NewUpload {
  readonly id: string;
  readonly projectId: string;
  readonly protocol: UploadRow['protocol'];
  readonly filename: string;
  readonly declaredType: string | null;
  /** As declared; null when the client does not know yet. */
  readonly size: number | null;
  readonly sha256: Buffer | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly stagingKey: string;
  /** The id that the file gets. */
  readonly fileId: string;
  readonly createdBy: { readonly userId?: string; readonly keyId?: string };
  /** Bytes to reserve; see `Claim`. */
  readonly need: number;
  readonly want: number;
}

/**
 * Writes the row of an upload that begins and reserves its room and the place of its file. Committed before
 * anybody may write a byte to the store.
 * @throws Problem `quota-exceeded`.
 */
export async function openUpload(tx: Tx, upload: NewUpload, quota: Quota): Promise<UploadRow> {
  await claimPlace(tx, upload.projectId, upload.createdBy.keyId);
  const granted = await reserve(
    tx,
    upload.projectId,
    { need: upload.need, want: upload.want, files: 1 },
    quota,
  );
  return tx
    .insertInto('uploads')
    .values({
      id: upload.id,
      project_id: upload.projectId,
      protocol: upload.protocol,
      filename: upload.filename,
      declared_type: upload.declaredType,
      size: upload.size,
      sha256: upload.sha256,
      metadata: JSON.stringify(upload.metadata),
      staging_key: upload.stagingKey,
      file_id: upload.fileId,
      reserved_bytes: granted,
      created_by_user: upload.createdBy.userId ?? null,
      created_by_key: upload.createdBy.keyId ?? null,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** The upload, whatever its state; undefined when the project has none with this id (any more). */
export async function findUpload(
  db: Db | Tx,
  projectId: string,
  uploadId: string,
): Promise<UploadRow | undefined> {
  return db
    .selectFrom('uploads')
    .selectAll()
    .where('id', '=', uploadId)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
}

/** The upload, locked until the transaction ends. Before the file and the counter, as everywhere. */
export async function lockUpload(
  tx: Tx,
  projectId: string,
  uploadId: string,
): Promise<UploadRow | undefined> {
  return tx
    .selectFrom('uploads')
    .selectAll()
    .where('id', '=', uploadId)
    .where('project_id', '=', projectId)
    .forUpdate()
    .executeTakeFirst();
}

/**
 * Changes what an unfinished upload holds of the quota to at least `need` and at best `want` bytes.
 * @returns the bytes it holds now.
 * @throws Problem `quota-exceeded`; `UploadLost` when it is over.
 */
export async function resizeUpload(
  tx: Tx,
  projectId: string,
  uploadId: string,
  { need, want }: { readonly need: number; readonly want: number },
  quota: Quota,
): Promise<number> {
  const upload = await lockUpload(tx, projectId, uploadId);
  if (!upload || !isLiving(upload)) throw new UploadLost('the upload is over');
  const held = upload.reserved_bytes;
  let now = need;
  if (need > held) {
    now = held + (await reserve(tx, projectId, { need: need - held, want: want - held, files: 0 }, quota));
  } else {
    await bookUsage(tx, projectId, { reservedBytes: need - held });
  }
  await tx.updateTable('uploads').set({ reserved_bytes: now }).where('id', '=', uploadId).execute();
  return now;
}

/**
 * Writes the file's row for an upload whose bytes are complete: `verifying`, with its final key. What the upload
 * held of the quota is the file's from now on. `settleFiles` then acknowledges it, in this transaction or a later one.
 * @throws `UploadLost` when the upload is neither open nor completing any more.
 */
export async function openFileOfUpload(
  tx: Tx,
  upload: Pick<UploadRow, 'id' | 'project_id'>,
  file: { readonly key: string; readonly mimeType: string },
): Promise<FileRow> {
  const held = await lockUpload(tx, upload.project_id, upload.id);
  if (!held || !isLiving(held)) throw new UploadLost('the upload was given up');
  await tx
    .updateTable('uploads')
    .set({ status: 'completing', reserved_bytes: 0 })
    .where('id', '=', upload.id)
    .execute();
  return tx
    .insertInto('files')
    .values({
      id: held.file_id,
      project_id: held.project_id,
      s3_key: file.key,
      filename: held.filename,
      mime_type: file.mimeType,
      declared_type: held.declared_type,
      status: 'verifying',
      metadata: JSON.stringify(held.metadata),
      reserved_bytes: held.reserved_bytes,
      created_by_user: held.created_by_user,
      created_by_key: held.created_by_key,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** The upload's file has been settled, in this transaction; what else it named in the store is buried by the caller. */
export async function completeUpload(tx: Tx, uploadId: string): Promise<void> {
  const done = await tx
    .updateTable('uploads')
    .set({
      status: 'completed',
      multipart_id: null,
      tail_key: null,
      next_tail_key: null,
      lock_holder: null,
      lock_until: null,
      active_at: sql<Date>`now()`,
    })
    .where('id', '=', uploadId)
    .where('status', 'in', livingUploadStates)
    .executeTakeFirst();
  if (done.numUpdatedRows !== 1n) throw new UploadLost('the upload was given up');
}

export interface Abandonment {
  /** Code of the problem that the client is told, and its sentence. */
  readonly code: string;
  readonly detail: string;
  /** Seconds within which somebody may still be writing the keys; undefined when nobody can be. */
  readonly againAfter?: number;
}

/**
 * Gives uploads up, with the files that were being verified for them: reservations come back, keys are buried. The
 * rows stay, `failed`, and go on naming a put in parts that the store has not dropped yet (`multipart_id`).
 * Completed uploads stay untouched, so it may follow any failure, a lost answer to COMMIT included.
 * @returns the ids that were given up.
 */
export async function abandonUploads(
  tx: Tx,
  projectId: string,
  uploadIds: readonly string[],
  { code, detail, againAfter }: Abandonment,
): Promise<readonly string[]> {
  if (uploadIds.length === 0) return [];
  const held = await tx
    .selectFrom('uploads')
    .select(['id', 'file_id', 'staging_key', 'tail_key', 'next_tail_key', 'reserved_bytes'])
    .where('id', 'in', uploadIds)
    .where('project_id', '=', projectId)
    .where('status', 'in', livingUploadStates)
    // One order for everybody who locks several rows.
    .orderBy('id')
    .forUpdate()
    .execute();
  if (held.length === 0) return [];
  const ids = held.map(({ id }) => id);
  await tx
    .updateTable('uploads')
    .set({
      status: 'failed',
      failure_code: code,
      failure: detail,
      reserved_bytes: 0,
      tail_key: null,
      next_tail_key: null,
      lock_holder: null,
      lock_until: null,
      active_at: sql<Date>`now()`,
    })
    .where('id', 'in', ids)
    .execute();
  const reason = 'upload failed';
  const files = await abandonFiles(
    tx,
    projectId,
    held.map((upload) => upload.file_id),
    reason,
    againAfter,
  );
  await bury(
    tx,
    held
      .flatMap((upload) => [upload.staging_key, upload.tail_key, upload.next_tail_key])
      .flatMap((key) =>
        key === null ? [] : [{ key, projectId, reason, ...(againAfter === undefined ? {} : { againAfter }) }],
      ),
  );
  await bookUsage(tx, projectId, {
    reservedBytes: -held.reduce((sum, upload) => sum + upload.reserved_bytes, 0),
    // The place of a file that was being verified has come back with the file.
    reservedFiles: -(held.length - files.length),
  });
  return ids;
}

/** The store has dropped the parts of an upload. */
export async function forgetMultipart(db: Db, uploadId: string): Promise<void> {
  await db.updateTable('uploads').set({ multipart_id: null }).where('id', '=', uploadId).execute();
}

/** Uploads of which nobody has heard for `expirySeconds` by the database's clock: up to `limit` of them, locked. */
export async function lockExpiredUploads(
  tx: Tx,
  { expirySeconds, limit }: { readonly expirySeconds: number; readonly limit: number },
): Promise<readonly Pick<UploadRow, 'id' | 'project_id'>[]> {
  return (
    silentUploads(tx, expirySeconds)
      .limit(limit)
      // A row that is locked is alive this very moment.
      .forUpdate()
      .skipLocked()
      .execute()
  );
}

/** Open uploads of which nobody has heard for so many seconds, those first that have been silent for longest. */
export function silentUploads(db: Db | Tx, expirySeconds: number) {
  return db
    .selectFrom('uploads')
    .select(['id', 'project_id'])
    .where('status', '=', 'open')
    .where('active_at', '<', sql<Date>`now() - make_interval(secs => ${expirySeconds}::float8)`)
    .orderBy('active_at');
}

function isLiving({ status }: Pick<UploadRow, 'status'>): boolean {
  return livingUploadStates.some((state) => state === status);
}
