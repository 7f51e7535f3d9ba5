import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { Deletions } from '../../../foundation/database/tables.js';
import type { Page } from '../../../foundation/http/pages.js';
import { filesMatching, type FileFilters } from '../../files/queries.js';

export type DeletionRow = Selectable<Deletions>;

/** What a deletion is about: files given by id, or those that a list with these filters would show. */
export type DeletionScope =
  | { readonly fileIds: readonly string[]; readonly filter?: undefined }
  | { readonly fileIds?: undefined; readonly filter: FileFilters };

export interface NewDeletion {
  readonly id: string;
  readonly projectId: string;
  readonly scope: DeletionScope;
  readonly permanent: boolean;
}

export async function insertDeletion(
  tx: Tx,
  { id, projectId, scope, permanent }: NewDeletion,
): Promise<DeletionRow> {
  return tx
    .insertInto('deletions')
    .values({
      id,
      project_id: projectId,
      file_ids: scope.fileIds === undefined ? null : [...scope.fileIds],
      filter: scope.filter === undefined ? null : JSON.stringify(scope.filter),
      permanent,
      // Ids grow with time: files that come later have greater ones.
      before_id: id,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function findDeletion(
  db: Db | Tx,
  projectId: string,
  id: string,
): Promise<DeletionRow | undefined> {
  return db
    .selectFrom('deletions')
    .selectAll()
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
}

/** Up to `limit + 1` deletions of the project, newest first. */
export async function listDeletions(db: Db, projectId: string, page: Page): Promise<readonly DeletionRow[]> {
  let query = db.selectFrom('deletions').selectAll().where('project_id', '=', projectId);
  if (page.after !== undefined) query = query.where('id', '<', page.after);
  return query
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
}

/** Deletions of the project that are under way, counted up to `limit`. */
export async function countRunningDeletions(tx: Tx, projectId: string, limit: number): Promise<number> {
  const rows = await tx
    .selectFrom('deletions')
    .select('id')
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .limit(limit)
    .execute();
  return rows.length;
}

/** Ends one that is under way. @returns false when there is none (any more). */
export async function endDeletion(
  tx: Tx,
  { projectId, id }: { readonly projectId: string; readonly id: string },
  status: 'completed' | 'cancelled' | 'failed',
): Promise<boolean> {
  const ended = await tx
    .updateTable('deletions')
    .set({ status, updated_at: sql<Date>`now()`, finished_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .executeTakeFirst();
  return ended.numUpdatedRows === 1n;
}

/** The next files of a deletion, oldest first: of those given by id in the order of ids, whether they are there or not. */
export async function nextFiles(db: Db, row: DeletionRow, limit: number): Promise<readonly string[]> {
  const { after_id: after, file_ids: ids } = row;
  if (ids !== null) {
    return [...ids]
      .sort()
      .filter((id) => after === null || id > after)
      .slice(0, limit);
  }
  let query = filesMatching(db, row.project_id, filterOf(row))
    .select('id')
    .where('id', '<', row.before_id)
    .orderBy('id')
    .limit(limit);
  if (after !== null) query = query.where('id', '>', after);
  return (await query.execute()).map(({ id }) => id);
}

/** How many files a deletion is about when it begins. */
export async function countFilesOf(db: Db, row: DeletionRow): Promise<number> {
  if (row.file_ids !== null) return row.file_ids.length;
  const { count } = await filesMatching(db, row.project_id, filterOf(row))
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('id', '<', row.before_id)
    .executeTakeFirstOrThrow();
  return count;
}

/** The column holds what `insertDeletion` wrote. */
function filterOf({ filter }: DeletionRow): FileFilters {
  return (filter ?? {}) as FileFilters;
}

/** Writes down how far a deletion is. */
export async function keepProgress(
  tx: Tx,
  row: DeletionRow,
  step: {
    readonly afterId: string;
    readonly deleted: number;
    readonly notFound: readonly string[];
    readonly total: number;
  },
): Promise<void> {
  await tx
    .updateTable('deletions')
    .set({
      after_id: step.afterId,
      files_deleted: sql<number>`files_deleted + ${step.deleted}::integer`,
      not_found: sql<string[]>`not_found || ${[...step.notFound]}::uuid[]`,
      files_total: step.total,
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', row.id)
    .where('project_id', '=', row.project_id)
    .execute();
}
