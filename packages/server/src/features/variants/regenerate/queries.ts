import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { Regenerations } from '../../../foundation/database/tables.js';
import type { Page } from '../../../foundation/http/pages.js';
import type { Selection } from './choose.js';

export type RegenerationRow = Selectable<Regenerations>;

export interface NewRegeneration {
  readonly id: string;
  readonly projectId: string;
  readonly which: Selection;
  /** In the settings; undefined: all. */
  readonly names?: readonly string[] | undefined;
  /** Undefined: every file of the project. */
  readonly fileIds?: readonly string[] | undefined;
  readonly reason: 'settings' | 'request';
}

export async function insertRegeneration(tx: Tx, order: NewRegeneration): Promise<RegenerationRow> {
  return tx
    .insertInto('regenerations')
    .values({
      id: order.id,
      project_id: order.projectId,
      which: order.which,
      names: order.names === undefined ? null : [...order.names],
      file_ids: order.fileIds === undefined ? null : [...order.fileIds],
      reason: order.reason,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function findRegeneration(
  db: Db | Tx,
  projectId: string,
  id: string,
): Promise<RegenerationRow | undefined> {
  return db
    .selectFrom('regenerations')
    .selectAll()
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
}

/** Up to `limit + 1` regenerations of the project, newest first. */
export async function listRegenerations(
  db: Db,
  projectId: string,
  page: Page,
): Promise<readonly RegenerationRow[]> {
  let query = db.selectFrom('regenerations').selectAll().where('project_id', '=', projectId);
  if (page.after !== undefined) query = query.where('id', '<', page.after);
  return query
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
}

/** Regenerations of the project that are under way, counted up to `limit`. */
export async function countRunning(tx: Tx, projectId: string, limit: number): Promise<number> {
  const running = await tx
    .selectFrom('regenerations')
    .select('id')
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .limit(limit)
    .execute();
  return running.length;
}

/** Ends one that is under way. @returns false when there is none (any more). */
export async function endRegeneration(
  tx: Tx,
  { projectId, id }: { readonly projectId: string; readonly id: string },
  status: 'completed' | 'cancelled' | 'failed',
): Promise<boolean> {
  const ended = await tx
    .updateTable('regenerations')
    .set({
      status,
      jobs_open: 0,
      updated_at: sql<Date>`now()`,
      finished_at: sql<Date>`now()`,
    })
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .executeTakeFirst();
  return ended.numUpdatedRows === 1n;
}

/** Ends those under way that changes of the settings had begun. @returns the names whose variants they were about. */
export async function supersede(tx: Tx, projectId: string): Promise<readonly string[]> {
  const rows = await tx
    .updateTable('regenerations')
    .set({ status: 'cancelled', jobs_open: 0, updated_at: sql<Date>`now()`, finished_at: sql<Date>`now()` })
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .where('reason', '=', 'settings')
    .returning('names')
    .execute();
  return rows.flatMap(({ names }) => names ?? []);
}

/** Ends all of a project that is deleted; their jobs are cancelled by the caller. */
export async function endRegenerationsOfProject(tx: Tx, projectId: string): Promise<void> {
  await tx
    .updateTable('regenerations')
    .set({ status: 'cancelled', jobs_open: 0, updated_at: sql<Date>`now()`, finished_at: sql<Date>`now()` })
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .execute();
}

export interface Step {
  readonly afterId: string | null;
  readonly pass: number;
  readonly plannedInPass: number;
  readonly filesSeen: number;
  readonly variantsPlanned: number;
  readonly jobsOpen: number;
  readonly filesTotal?: number;
}

/** Writes down where a walk is. */
export async function keepStep(
  tx: Tx,
  { id, project_id: projectId }: Pick<RegenerationRow, 'id' | 'project_id'>,
  step: Step,
): Promise<void> {
  await tx
    .updateTable('regenerations')
    .set({
      after_id: step.afterId,
      pass: step.pass,
      planned_in_pass: step.plannedInPass,
      files_seen: step.filesSeen,
      variants_planned: step.variantsPlanned,
      jobs_open: step.jobsOpen,
      ...(step.filesTotal === undefined ? {} : { files_total: step.filesTotal }),
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .where('status', '=', 'running')
    .execute();
}

/** Ids of the living files that a regeneration is about, behind `after`, oldest first. */
export async function filesAfter(
  db: Db,
  { project_id: projectId, file_ids: fileIds }: Pick<RegenerationRow, 'project_id' | 'file_ids'>,
  after: string | null,
  limit: number,
): Promise<readonly string[]> {
  let query = livingFiles(db, projectId, fileIds).select('id').orderBy('id').limit(limit);
  if (after !== null) query = query.where('id', '>', after);
  return (await query.execute()).map(({ id }) => id);
}

export async function countFiles(
  db: Db,
  { project_id: projectId, file_ids: fileIds }: Pick<RegenerationRow, 'project_id' | 'file_ids'>,
): Promise<number> {
  const { count } = await livingFiles(db, projectId, fileIds)
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow();
  return count;
}

function livingFiles(db: Db, projectId: string, fileIds: readonly string[] | null) {
  const query = db
    .selectFrom('files')
    .where('project_id', '=', projectId)
    .where('deleted_at', 'is', null)
    .where('status', 'in', ['processing', 'ready', 'failed']);
  return fileIds === null ? query : query.where('id', 'in', fileIds.length > 0 ? fileIds : [projectId]);
}

/** Stored pictures of a project under any of these names of rows. */
export async function countStored(tx: Tx, projectId: string, names: readonly string[]): Promise<number> {
  if (names.length === 0) return 0;
  const { count } = await tx
    .selectFrom('variants')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('project_id', '=', projectId)
    .where('name', 'in', names)
    .where('s3_key', 'is not', null)
    .executeTakeFirstOrThrow();
  return count;
}

/** Writes down names that the settings no longer say, and forgets those that they say again. */
export async function keepRemovedNames(
  tx: Tx,
  projectId: string,
  { removed, present }: { readonly removed: readonly string[]; readonly present: readonly string[] },
): Promise<void> {
  if (present.length > 0) {
    await tx
      .deleteFrom('removed_variants')
      .where('project_id', '=', projectId)
      .where('name', 'in', present)
      .execute();
  }
  if (removed.length === 0) return;
  await tx
    .insertInto('removed_variants')
    .values(removed.map((name) => ({ project_id: projectId, name })))
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}
