import { sql } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import { recordEvents } from '../../events/queries.js';
import { abandonFiles, unfinishedStates } from '../../files/intake-queries.js';
import { visibleStates } from '../../files/queries.js';
import { abandonUploads, livingUploadStates } from '../../files/upload-queries.js';
import { purgeFiles, type PurgeFilesOptions } from '../trash-queries.js';

/** Projects that have been in the trash for so many seconds and are not being removed yet. */
export function expiredProjects(db: Db, trashedForSeconds: number) {
  return db
    .selectFrom('projects')
    .select('id')
    .where('deleted_at', '<', sql<Date>`now() - make_interval(secs => ${trashedForSeconds}::float8)`)
    .where('purged_at', 'is', null)
    .orderBy('deleted_at');
}

/** Whether the project is one that is being removed. */
export async function isPurged(db: Db, projectId: string): Promise<boolean> {
  const row = await db
    .selectFrom('projects')
    .select('id')
    .where('id', '=', projectId)
    .where('purged_at', 'is not', null)
    .executeTakeFirst();
  return row !== undefined;
}

/** Projects that are being removed; a job that is lost is ordered anew. */
export async function purgedProjects(db: Db, limit: number): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('projects')
    .select('id')
    .where('purged_at', 'is not', null)
    .orderBy('purged_at')
    .limit(limit)
    .execute();
  return rows.map(({ id }) => id);
}

/**
 * Takes a project out of the trash's reach: from now on it cannot be restored.
 * @returns false when somebody has restored it.
 */
export async function claimExpiredProject(
  tx: Tx,
  projectId: string,
  trashedForSeconds: number,
): Promise<boolean> {
  const claimed = await tx
    .updateTable('projects')
    .set({ purged_at: sql<Date>`now()` })
    .where('id', '=', projectId)
    .where('deleted_at', '<', sql<Date>`now() - make_interval(secs => ${trashedForSeconds}::float8)`)
    .where('purged_at', 'is', null)
    .executeTakeFirst();
  return claimed.numUpdatedRows === 1n;
}

const lowestId = '00000000-0000-0000-0000-000000000000';

/** Removes up to `limit` files of the project, whatever their state. @returns how many. */
export async function purgeSomeFiles(
  tx: Tx,
  projectId: string,
  limit: number,
  options: Pick<PurgeFilesOptions, 'againAfter'>,
): Promise<number> {
  // Told only that the project is this one, PostgreSQL walks the ids of all projects until it finds enough, since it takes
  // them for mixed: 1.5 s beside a million older files. From the project's place in its index on there is one way only.
  const rows = await tx
    .selectFrom((eb) =>
      eb
        .selectFrom('files')
        .select(['id', 'status', 'project_id'])
        .where((where) => where(where.refTuple('project_id', 'id'), '>=', where.tuple(projectId, lowestId)))
        .orderBy('project_id')
        .orderBy('id')
        .limit(limit)
        .as('nearest'),
    )
    .select(['id', 'status'])
    .where('project_id', '=', projectId)
    .execute();
  const idsIn = (states: readonly string[]) =>
    rows.filter(({ status }) => states.includes(status)).map(({ id }) => id);
  const gone = await purgeFiles(tx, projectId, idsIn(visibleStates), options);
  const broken = await abandonFiles(
    tx,
    projectId,
    idsIn(unfinishedStates),
    'project purged',
    options.againAfter,
  );
  return gone.length + broken.length;
}

/** Gives up to `limit` uploads of several requests up. @returns how many. */
export async function abandonSomeUploads(
  tx: Tx,
  projectId: string,
  limit: number,
  againAfter: number,
): Promise<number> {
  const rows = await tx
    .selectFrom('uploads')
    .select('id')
    .where('project_id', '=', projectId)
    .where('status', 'in', livingUploadStates)
    .orderBy('id')
    .limit(limit)
    .execute();
  const gone = await abandonUploads(
    tx,
    projectId,
    rows.map(({ id }) => id),
    { code: 'upload-gone', detail: 'The project was deleted.', againAfter },
  );
  return gone.length;
}

/** Parts in the store that uploads of the project have left. */
export async function multipartsOf(
  db: Db,
  projectId: string,
  limit: number,
): Promise<readonly { readonly id: string; readonly key: string; readonly multipartId: string }[]> {
  return db
    .selectFrom('uploads')
    .select(['id', 'staging_key as key', 'multipart_id as multipartId'])
    .where('project_id', '=', projectId)
    .where('multipart_id', 'is not', null)
    .limit(limit)
    .$narrowType<{ multipartId: string }>()
    .execute();
}

/** What belongs to a project and names nothing in the store; in the order in which it may go. */
const belongings = [
  'uploads',
  'imports',
  'upload_keys',
  'regenerations',
  'removed_variants',
  'deletions',
  'api_keys',
] as const;

/** Removes up to `limit` rows that belong to the project. @returns how many; 0 when none is left. */
export async function removeBelongings(db: Db, projectId: string, limit: number): Promise<number> {
  for (const table of belongings) {
    const { numDeletedRows } = await db
      .deleteFrom(table)
      .where(
        sql<boolean>`ctid = ANY (ARRAY(
        SELECT ctid FROM ${sql.table(table)} WHERE project_id = ${projectId}::uuid LIMIT ${limit} FOR UPDATE SKIP LOCKED))`,
      )
      .executeTakeFirst();
    if (numDeletedRows > 0n) return Number(numDeletedRows);
  }
  return 0;
}

/** Removes the row of a project that holds nothing any more. @returns false when something is left. */
export async function removeProject(tx: Tx, projectId: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('projects')
    .where('id', '=', projectId)
    .where('purged_at', 'is not', null)
    .where((eb) => eb.not(eb.exists(eb.selectFrom('files').select('id').where('project_id', '=', projectId))))
    .where((eb) =>
      eb.not(eb.exists(eb.selectFrom('uploads').select('id').where('project_id', '=', projectId))),
    )
    .executeTakeFirst();
  if (numDeletedRows === 0n) return false;
  await recordEvents(tx, [{ projectId, type: 'project.purged', subjectId: projectId }]);
  return true;
}
