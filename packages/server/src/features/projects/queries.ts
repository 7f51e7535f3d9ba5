import { sql, type RawBuilder, type Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Projects } from '../../foundation/database/tables.js';
import type { Page } from '../../foundation/http/pages.js';
import type { Role } from '../access/permissions.js';
import { recordEvents } from '../events/queries.js';
import { readSettings, type ProjectSettings } from './settings.js';

/** A living project. */
export interface Project {
  readonly id: string;
  readonly ownerId: string;
  readonly name: string;
  readonly settings: ProjectSettings;
  /** Counts the changes of name and settings. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When it was put into the trash. */
  readonly deletedAt: Date | null;
}

/** What a project holds, in bytes. */
export interface Usage {
  readonly originalBytes: number;
  readonly variantBytes: number;
  readonly reservedBytes: number;
  readonly files: number;
  /** Of the originals, those in the trash. */
  readonly trashBytes: number;
}

const columns = [
  'id',
  'owner_id',
  'name',
  'settings',
  'version',
  'created_at',
  'updated_at',
  'deleted_at',
] as const;
type Row = Pick<Selectable<Projects>, (typeof columns)[number]>;

const usageColumns = [
  'original_bytes as originalBytes',
  'variant_bytes as variantBytes',
  'reserved_bytes as reservedBytes',
  'file_count as files',
  'trash_bytes as trashBytes',
] as const;

function projectOf(row: Row): Project {
  return {
    id: row.id,
    ownerId: row.owner_id,
    name: row.name,
    settings: readSettings(row.settings),
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    deletedAt: row.deleted_at,
  };
}

/** The living project; undefined when it is unknown or deleted. */
export async function findProject(db: Db | Tx, projectId: string): Promise<Project | undefined> {
  const row = await db
    .selectFrom('projects')
    .select(columns)
    .where('id', '=', projectId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row && projectOf(row);
}

/**
 * The living project, locked until the transaction ends. The lock leaves room for uploads, whose rows refer
 * to the project.
 * @param options.trash also one in the trash that is not being purged.
 */
export async function lockProject(
  tx: Tx,
  projectId: string,
  { trash = false }: { readonly trash?: boolean } = {},
): Promise<Project | undefined> {
  const row = await tx
    .selectFrom('projects')
    .select(columns)
    .where('id', '=', projectId)
    .where(trash ? 'purged_at' : 'deleted_at', 'is', null)
    .forNoKeyUpdate()
    .executeTakeFirst();
  return row && projectOf(row);
}

export async function findUsage(db: Db | Tx, projectId: string): Promise<Usage> {
  return db
    .selectFrom('project_usage')
    .select(usageColumns)
    .where('project_id', '=', projectId)
    .executeTakeFirstOrThrow();
}

/** The living projects that a person owns or is a member of, or those of their own in the trash, newest first: up to `limit + 1`. */
export async function listProjects(
  db: Db,
  userId: string,
  page: Page,
  trash = false,
): Promise<{ readonly id: string; readonly project: Project; readonly usage: Usage; readonly role: Role }[]> {
  const rows = await db
    .selectFrom('projects')
    .innerJoin('project_usage', 'project_usage.project_id', 'projects.id')
    .leftJoin('project_members', (join) =>
      join.onRef('project_members.project_id', '=', 'projects.id').on('project_members.user_id', '=', userId),
    )
    .select([
      'id',
      'owner_id',
      'name',
      'settings',
      'version',
      'projects.created_at',
      'updated_at',
      'deleted_at',
    ])
    .select(usageColumns)
    .select('project_members.role')
    // Two index look-ups; with OR the planner would read all projects.
    .where(
      'id',
      'in',
      db
        .selectFrom('projects')
        .select('id')
        .where('owner_id', '=', userId)
        .unionAll(db.selectFrom('project_members').select('project_id as id').where('user_id', '=', userId)),
    )
    .where('deleted_at', trash ? 'is not' : 'is', null)
    .where('purged_at', 'is', null)
    .$if(trash, (query) => query.where('owner_id', '=', userId))
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    project: projectOf(row),
    usage: row,
    role: row.owner_id === userId ? 'owner' : row.role === 'editor' ? 'editor' : 'viewer',
  }));
}

/** Makes the project and its quota counter. */
export async function insertProject(
  tx: Tx,
  project: Pick<Project, 'id' | 'ownerId' | 'name' | 'settings'>,
): Promise<Project> {
  const row = await tx
    .insertInto('projects')
    .values({
      id: project.id,
      owner_id: project.ownerId,
      name: project.name,
      settings: JSON.stringify(project.settings),
    })
    .returning(columns)
    .executeTakeFirstOrThrow();
  await tx.insertInto('project_usage').values({ project_id: project.id }).execute();
  return projectOf(row);
}

/** Writes name and settings of a project that `lockProject` locked. */
export async function updateProject(
  tx: Tx,
  project: Pick<Project, 'id' | 'name' | 'settings'>,
): Promise<Project> {
  const row = await tx
    .updateTable('projects')
    .set((eb) => ({
      name: project.name,
      settings: JSON.stringify(project.settings),
      version: eb('version', '+', 1),
      updated_at: eb.fn<Date>('now'),
    }))
    .where('id', '=', project.id)
    .returning(columns)
    .executeTakeFirstOrThrow();
  return projectOf(row);
}

/** Marks a locked project deleted: from the commit on it is closed on every path. */
export async function markProjectDeleted(tx: Tx, projectId: string): Promise<void> {
  await changeTrash(tx, projectId, { deleted_at: sql<Date>`coalesce(deleted_at, now())` });
  await recordEvents(tx, [{ projectId, type: 'project.trashed', subjectId: projectId }]);
}

/** Takes a locked project out of the trash. */
export async function markProjectRestored(tx: Tx, projectId: string): Promise<void> {
  await changeTrash(tx, projectId, { deleted_at: null });
  await recordEvents(tx, [{ projectId, type: 'project.restored', subjectId: projectId }]);
}

/** Marks a locked project as one that is being removed for good. */
export async function markProjectPurged(tx: Tx, projectId: string): Promise<void> {
  await changeTrash(tx, projectId, {
    deleted_at: sql<Date>`coalesce(deleted_at, now())`,
    purged_at: sql<Date>`now()`,
  });
}

async function changeTrash(
  tx: Tx,
  projectId: string,
  values: { readonly deleted_at: RawBuilder<Date> | null; readonly purged_at?: RawBuilder<Date> },
): Promise<void> {
  await tx
    .updateTable('projects')
    .set({ ...values, version: sql<number>`version + 1`, updated_at: sql<Date>`now()` })
    .where('id', '=', projectId)
    .execute();
}

/** Runs the work in one transaction. */
export function inTransaction<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction().execute(work);
}
