import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { lockFile, type LockedVariant } from './attempt-queries.js';
import { dropVariants, type FileOfVariants } from './drop-queries.js';

/** A file some of whose variants are to go. */
export interface CollectableFile {
  readonly fileId: string;
  readonly projectId: string;
}

/** Files with transformations that nobody has asked for in time. */
export function filesWithExpired(db: Db) {
  return db
    .selectFrom('variants')
    .select(['file_id as fileId', 'project_id as projectId'])
    .distinct()
    .where('expires_at', '<', sql<Date>`now()`)
    .where('pending_key', 'is', null);
}

/** A name that the settings of a project have not said for longer than the grace period. */
export interface RemovedName {
  readonly projectId: string;
  readonly name: string;
}

export async function removedNames(
  db: Db,
  graceSeconds: number,
  limit: number,
): Promise<readonly RemovedName[]> {
  return db
    .selectFrom('removed_variants')
    .select(['project_id as projectId', 'name'])
    .where('removed_at', '<', sql<Date>`now() - make_interval(secs => ${graceSeconds}::float8)`)
    .orderBy('removed_at')
    .limit(limit)
    .execute();
}

/** Files that have a variant of that name which nobody is just making. */
export function filesWithVariant(db: Db, { projectId, name }: RemovedName) {
  return db
    .selectFrom('variants')
    .select(['file_id as fileId', 'project_id as projectId'])
    .where('project_id', '=', projectId)
    .where('name', '=', name)
    .where('pending_key', 'is', null);
}

/** Takes a name off the list, unless variants of that name are left. */
export async function forgetRemovedName(db: Db, { projectId, name }: RemovedName): Promise<void> {
  await db
    .deleteFrom('removed_variants')
    .where('project_id', '=', projectId)
    .where('name', '=', name)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('variants')
            .select('file_id')
            .where('project_id', '=', projectId)
            .where('variants.name', '=', name),
        ),
      ),
    )
    .execute();
}

/** Whether the name is still one that has been removed: it may have come back since the list was read. */
async function isRemoved(tx: Tx, { projectId, name }: RemovedName): Promise<boolean> {
  const row = await tx
    .selectFrom('removed_variants')
    .select('name')
    .where('project_id', '=', projectId)
    .where('name', '=', name)
    .forUpdate()
    .executeTakeFirst();
  return row !== undefined;
}

/** Removes the expired transformations of a file. @returns how many. */
export function collectExpired(db: Db, file: CollectableFile): Promise<number> {
  return db.transaction().execute(async (tx) => {
    const held = await lockFile(tx, file.projectId, file.fileId);
    if (!held) return 0;
    const rows = await lockCollectable(tx, held)
      .where('expires_at', '<', sql<Date>`now()`)
      .execute();
    await dropVariants(tx, held, rows, 'transformation expired');
    return rows.length;
  });
}

/** Removes the variant of a removed name from a file. @returns how many rows went. */
export function collectRemoved(db: Db, file: CollectableFile, removed: RemovedName): Promise<number> {
  return db.transaction().execute(async (tx) => {
    const held = await lockFile(tx, file.projectId, file.fileId);
    if (!held || !(await isRemoved(tx, removed))) return 0;
    const rows = await lockCollectable(tx, held).where('name', '=', removed.name).execute();
    await dropVariants(tx, held, rows, 'variant removed from the settings');
    return rows.length;
  });
}

/** Transformations of a file from that which was not asked for longest; locked, without those being made. */
export function lockAdhoc(tx: Tx, file: FileOfVariants): Promise<readonly LockedVariant[]> {
  return lockCollectable(tx, file).where('expires_at', 'is not', null).orderBy('expires_at').execute();
}

function lockCollectable(tx: Tx, file: FileOfVariants) {
  return tx
    .selectFrom('variants')
    .selectAll()
    .select(sql<number>`extract(epoch from now() - updated_at)::float8`.as('silentSeconds'))
    .where('project_id', '=', file.project_id)
    .where('file_id', '=', file.id)
    .where('pending_key', 'is', null)
    .forUpdate();
}
