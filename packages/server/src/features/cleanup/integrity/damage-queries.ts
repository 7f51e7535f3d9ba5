import { sql } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';

/** What is known of the bytes of a row. */
export type Integrity = 'unchecked' | 'ok' | 'missing' | 'corrupt';

/** A blob as a row names it. */
export interface NamedBlob {
  readonly key: string;
  readonly projectId: string;
  readonly fileId: string;
  /** Null for an original. */
  readonly variant: string | null;
}

/**
 * Locks the file's row, which everybody takes before those of its variants.
 * @returns what is known of the original; undefined when there is no such file any more.
 */
export async function lockIntegrity(
  tx: Tx,
  { projectId, fileId }: Pick<NamedBlob, 'projectId' | 'fileId'>,
): Promise<{ readonly key: string; readonly integrity: Integrity } | undefined> {
  return tx
    .selectFrom('files')
    .select(['s3_key as key', sql<Integrity>`integrity`.as('integrity')])
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .where('status', 'in', ['processing', 'ready', 'failed'])
    .forUpdate()
    .executeTakeFirst();
}

/**
 * Writes down what was found out about the bytes of a key. A file that is shown otherwise now gets another version.
 * @returns false when the row is gone, or names other bytes now.
 */
export async function noteIntegrity(db: Db | Tx, blob: NamedBlob, integrity: Integrity): Promise<boolean> {
  const { numUpdatedRows } = await (
    blob.variant === null
      ? db
          .updateTable('files')
          .set({
            integrity,
            integrity_checked_at: sql<Date>`now()`,
            version: sql<number>`version + CASE WHEN integrity = ${integrity} THEN 0 ELSE 1 END`,
          })
          .where('id', '=', blob.fileId)
          .where('project_id', '=', blob.projectId)
          .where('s3_key', '=', blob.key)
      : db
          .updateTable('variants')
          .set({ integrity, integrity_checked_at: sql<Date>`now()` })
          .where('file_id', '=', blob.fileId)
          .where('project_id', '=', blob.projectId)
          .where('name', '=', blob.variant)
          .where('s3_key', '=', blob.key)
  ).executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** The blob of this key is back: a row that said that it is missing knows nothing of it now. */
export async function forgetMissing(db: Db, key: string): Promise<void> {
  await db
    .updateTable('files')
    .set({
      integrity: 'unchecked',
      integrity_checked_at: null,
      version: sql<number>`version + 1`,
    })
    .where('s3_key', '=', key)
    .where('integrity', '=', 'missing')
    .execute();
  await db
    .updateTable('variants')
    .set({ integrity: 'unchecked', integrity_checked_at: null })
    .where('s3_key', '=', key)
    .where('integrity', '=', 'missing')
    .execute();
}

/** Originals whose bytes are known to be lost, by what is wrong with them. */
export async function countDamaged(db: Db): Promise<{ readonly missing: number; readonly corrupt: number }> {
  const rows = await db
    .selectFrom('files')
    .select(['integrity', sql<number>`count(*)::float8`.as('files')])
    .where('integrity', 'in', ['missing', 'corrupt'])
    .groupBy('integrity')
    .execute();
  const of = (kind: string): number => rows.find(({ integrity }) => integrity === kind)?.files ?? 0;
  return { missing: of('missing'), corrupt: of('corrupt') };
}
