import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { recordEvents } from '../events/queries.js';
import { bury, lockVisible } from '../files/queries.js';
import { bookUsage } from '../files/usage-queries.js';

export interface PurgeFilesOptions {
  /** Only what has been in the trash for so many seconds; whatever its state when absent. */
  readonly trashedForSeconds?: number;
  /** Seconds within which an attempt that is under way may still be writing its key. */
  readonly againAfter: number;
}

/**
 * Removes acknowledged files for good: the rows of file and variants go, their keys are buried, and what they took of the
 * quota comes back; all at once, and once. What is restored in the same moment stays.
 * @returns the ids of those that are gone now.
 */
export async function purgeFiles(
  tx: Tx,
  projectId: string,
  fileIds: readonly string[],
  { trashedForSeconds, againAfter }: PurgeFilesOptions,
): Promise<readonly string[]> {
  let locking = lockVisible(tx, projectId, fileIds);
  if (trashedForSeconds !== undefined) {
    locking = locking.where(
      'deleted_at',
      '<',
      sql<Date>`now() - make_interval(secs => ${trashedForSeconds}::float8)`,
    );
  }
  const files = await locking.execute();
  if (files.length === 0) return [];
  const ids = files.map(({ id }) => id);
  const variants = await tx
    .selectFrom('variants')
    .select(['s3_key', 'pending_key', 'size'])
    .where('project_id', '=', projectId)
    .where('file_id', 'in', ids)
    .orderBy('file_id')
    .orderBy('name')
    .forUpdate()
    .execute();
  const reason = 'file purged';
  await bury(tx, [
    ...files.map(({ s3_key: key }) => ({ key, projectId, reason })),
    ...variants.flatMap(({ s3_key: key }) => (key === null ? [] : [{ key, projectId, reason }])),
    ...variants.flatMap(({ pending_key: key }) =>
      key === null ? [] : [{ key, projectId, reason, againAfter }],
    ),
  ]);
  // Variants go with their file.
  await tx.deleteFrom('files').where('id', 'in', ids).where('project_id', '=', projectId).execute();
  await recordEvents(
    tx,
    ids.map((subjectId) => ({ projectId, type: 'file.purged', subjectId })),
  );
  const bytes = (list: readonly { readonly size: number | null }[]) =>
    list.reduce((sum, { size }) => sum + (size ?? 0), 0);
  await bookUsage(tx, projectId, {
    originalBytes: -bytes(files),
    files: -files.length,
    trashBytes: -bytes(files.filter(({ deleted_at }) => deleted_at !== null)),
    variantBytes: -bytes(variants.filter(({ s3_key }) => s3_key !== null)),
  });
  return ids;
}

/** Files that have been in the trash for so many seconds, those first that have been there longest. */
export function expiredTrash(db: Db, trashedForSeconds: number) {
  return db
    .selectFrom('files')
    .select(['id', 'project_id as projectId'])
    .where('deleted_at', '<', sql<Date>`now() - make_interval(secs => ${trashedForSeconds}::float8)`)
    .where('status', 'in', ['processing', 'ready', 'failed'])
    .orderBy('deleted_at');
}
