import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { recordEvents } from '../events/queries.js';
import { claimPlace } from '../keys/upload-rules-queries.js';
import { bury, type FileRow } from './queries.js';
import { bookUsage, reserve, type Quota } from './usage-queries.js';

/** States of files that nobody sees yet, or ever. */
export const unfinishedStates = ['uploading', 'verifying', 'aborted'] as const;
/** Those of them that somebody is working on. */
const receivedStates = ['uploading', 'verifying'] as const;

export interface NewFile {
  readonly id: string;
  readonly projectId: string;
  /** The final key; unique, so that no two rows ever name one blob. */
  readonly key: string;
  readonly filename: string;
  /** Detected from the first bytes. */
  readonly mimeType: string;
  readonly declaredType: string | null;
  readonly createdBy: { readonly userId?: string; readonly keyId?: string };
  /** The client's own; empty when absent. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** Bytes to reserve; see `Claim`. */
  readonly need: number;
  readonly want: number;
}

/**
 * Writes the row of an upload that begins, with its key, and reserves its room. Committed before the first byte
 * goes to the store, so that a crash always leaves a row that names what it left.
 * @throws Problem `quota-exceeded`.
 */
export async function openFile(tx: Tx, file: NewFile, quota: Quota): Promise<FileRow> {
  await claimPlace(tx, file.projectId, file.createdBy.keyId);
  const granted = await reserve(tx, file.projectId, { need: file.need, want: file.want, files: 1 }, quota);
  return tx
    .insertInto('files')
    .values({
      id: file.id,
      project_id: file.projectId,
      s3_key: file.key,
      filename: file.filename,
      mime_type: file.mimeType,
      declared_type: file.declaredType,
      status: 'uploading',
      metadata: JSON.stringify(file.metadata ?? {}),
      reserved_bytes: granted,
      created_by_user: file.createdBy.userId ?? null,
      created_by_key: file.createdBy.keyId ?? null,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** The row is no upload under way any more: cleanup took the process that feeds it for dead. */
export class UploadLost extends Error {
  override readonly name = 'UploadLost';
}

/**
 * Changes what an upload holds of the quota to at least `need` and at best `want` bytes.
 * @returns the bytes it holds now.
 * @throws Problem `quota-exceeded`, `UploadLost`.
 */
export async function resizeReservation(
  tx: Tx,
  projectId: string,
  fileId: string,
  { need, want }: { readonly need: number; readonly want: number },
  quota: Quota,
): Promise<number> {
  // The file before the counter, as in every other transaction: none waits in a circle.
  const file = await tx
    .selectFrom('files')
    .select('reserved_bytes')
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .where('status', 'in', receivedStates)
    .forUpdate()
    .executeTakeFirst();
  if (!file) throw new UploadLost('the upload was given up by cleanup');
  const held = file.reserved_bytes;
  let now = need;
  if (need > held) {
    now = held + (await reserve(tx, projectId, { need: need - held, want: want - held, files: 0 }, quota));
  } else {
    await bookUsage(tx, projectId, { reservedBytes: need - held });
  }
  await tx
    .updateTable('files')
    .set({ reserved_bytes: now, heartbeat_at: sql<Date>`now()` })
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .execute();
  return now;
}

/** What a received file turned out to be. */
export interface SettledFile {
  readonly id: string;
  readonly status: 'processing' | 'ready';
  readonly size: number;
  readonly sha256: Buffer;
  /** Pixels after orientation, when the header told them. */
  readonly width: number | null;
  readonly height: number | null;
}

/**
 * Acknowledges received files: all or none. Their reservations become what is held.
 * @throws `UploadLost` when one of them is no upload under way any more.
 */
export async function settleFiles(
  tx: Tx,
  projectId: string,
  files: readonly SettledFile[],
): Promise<readonly FileRow[]> {
  const rows: FileRow[] = [];
  let originalBytes = 0;
  let reservedBytes = 0;
  for (const { id, ...settled } of files) {
    const held = await tx
      .selectFrom('files')
      .select('reserved_bytes')
      .where('id', '=', id)
      .where('project_id', '=', projectId)
      .where('status', 'in', receivedStates)
      .forUpdate()
      .executeTakeFirst();
    if (!held) throw new UploadLost('the upload was given up by cleanup');
    rows.push(
      await tx
        .updateTable('files')
        .set({ ...settled, reserved_bytes: 0, updated_at: sql<Date>`now()`, heartbeat_at: sql<Date>`now()` })
        .where('id', '=', id)
        .where('project_id', '=', projectId)
        .returningAll()
        .executeTakeFirstOrThrow(),
    );
    originalBytes += settled.size;
    reservedBytes += held.reserved_bytes;
  }
  await recordEvents(
    tx,
    rows.map(({ id: subjectId }) => ({ projectId, type: 'file.uploaded', subjectId })),
  );
  await bookUsage(tx, projectId, {
    originalBytes,
    reservedBytes: -reservedBytes,
    files: files.length,
    reservedFiles: -files.length,
  });
  return rows;
}

/**
 * Gives uploads up: their rows go, their reservations come back, their keys are buried; all at once. Rows that are
 * acknowledged stay untouched, so it may follow any failure, a lost answer to COMMIT included.
 *
 * @param againAfter seconds within which somebody may still be writing the keys; undefined when nobody can be.
 * @returns the ids that were given up.
 */
export async function abandonFiles(
  tx: Tx,
  projectId: string,
  fileIds: readonly string[],
  reason: string,
  againAfter: number | undefined,
): Promise<readonly string[]> {
  if (fileIds.length === 0) return [];
  const gone = await tx
    .deleteFrom('files')
    .where('id', 'in', (eb) =>
      // One order for everybody who locks several rows.
      eb
        .selectFrom('files')
        .select('id')
        .where('id', 'in', fileIds)
        .where('project_id', '=', projectId)
        .where('status', 'in', unfinishedStates)
        .orderBy('id')
        .forUpdate(),
    )
    .where('project_id', '=', projectId)
    .returning(['id', 's3_key', 'reserved_bytes', 'status'])
    .execute();
  if (gone.length === 0) return [];
  await bury(
    tx,
    gone.map((file) => ({
      key: file.s3_key,
      projectId,
      reason,
      ...(againAfter === undefined ? {} : { againAfter }),
    })),
  );
  await bookUsage(tx, projectId, {
    reservedBytes: -gone.reduce((sum, file) => sum + file.reserved_bytes, 0),
    // An aborted row has given its place back already.
    reservedFiles: -gone.filter((file) => file.status !== 'aborted').length,
  });
  return gone.map((file) => file.id);
}

/**
 * Tells that uploads are under way.
 * @returns the ids that still are; the others belong to cleanup.
 */
export async function renewUploads(db: Db, fileIds: readonly string[]): Promise<ReadonlySet<string>> {
  if (fileIds.length === 0) return new Set();
  const rows = await db
    .updateTable('files')
    .set({ heartbeat_at: sql<Date>`now()` })
    .where('id', 'in', (eb) =>
      eb
        .selectFrom('files')
        .select('id')
        .where('id', 'in', fileIds)
        .where('status', 'in', receivedStates)
        .orderBy('id')
        .forUpdate(),
    )
    .returning('id')
    .execute();
  return new Set(rows.map((row) => row.id));
}

/**
 * The files of these that are acknowledged, once nobody decides about them any more: a transaction that is just being
 * committed, or dies with its connection, is waited for.
 */
export async function fatesOf(
  db: Db,
  projectId: string,
  fileIds: readonly string[],
): Promise<readonly FileRow[]> {
  // Their states are looked at after the wait: a condition would be judged before it.
  const files = await db
    .selectFrom('files')
    .selectAll()
    .where('id', 'in', fileIds)
    .where('project_id', '=', projectId)
    .orderBy('id')
    .forShare()
    .execute();
  return files.filter(({ status }) => !unfinishedStates.some((unfinished) => unfinished === status));
}

/** The files of these that are acknowledged. */
export async function acknowledgedOf(
  db: Db,
  projectId: string,
  fileIds: readonly string[],
): Promise<readonly FileRow[]> {
  return db
    .selectFrom('files')
    .selectAll()
    .where('id', 'in', fileIds)
    .where('project_id', '=', projectId)
    .where('status', 'not in', unfinishedStates)
    .orderBy('id')
    .execute();
}
