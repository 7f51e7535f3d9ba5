import type { Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Projects } from '../../foundation/database/tables.js';
import type { Page } from '../../foundation/http/pages.js';
import type { Role } from '../access/permissions.js';
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
}

/** What a project holds, in bytes. */
export interface Usage {
  readonly originalBytes: number;
  readonly variantBytes: number;
  readonly reservedBytes: number;
  readonly files: number;
}

const columns = ['id', 'owner_id', 'name', 'settings', 'version', 'created_at', 'updated_at'] as const;
type Row = Pick<Selectable<Projects>, (typeof columns)[number]>;

const usageColumns = [
  'original_bytes as originalBytes',
  'variant_bytes as variantBytes',
  'reserved_bytes as reservedBytes',
  'file_count as files',
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
 */
export async function lockProject(tx: Tx, projectId: string): Promise<Project | undefined> {
  const row = await tx
    .selectFrom('projects')
    .select(columns)
    .where('id', '=', projectId)
    .where('deleted_at', 'is', null)
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

/** The living projects that a person owns or is a member of, newest first: up to `limit + 1`. */
export async function listProjects(
  db: Db,
  userId: string,
  page: Page,
): Promise<{ readonly id: string; readonly project: Project; readonly usage: Usage; readonly role: Role }[]> {
  const rows = await db
    .selectFrom('projects')
    .innerJoin('project_usage', 'project_usage.project_id', 'projects.id')
    .leftJoin('project_members', (join) =>
      join.onRef('project_members.project_id', '=', 'projects.id').on('project_members.user_id', '=', userId),
    )
    .select(['id', 'owner_id', 'name', 'settings', 'version', 'projects.created_at', 'updated_at'])
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
    .where('deleted_at', 'is', null)
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

/** Marks the project deleted: from the commit on it is closed on every path. */
export async function markProjectDeleted(tx: Tx, projectId: string): Promise<void> {
  await tx
    .updateTable('projects')
    .set((eb) => ({
      deleted_at: eb.fn<Date>('now'),
      version: eb('version', '+', 1),
      updated_at: eb.fn<Date>('now'),
    }))
    .where('id', '=', projectId)
    .execute();
}

/** Runs the work in one transaction. */
export function inTransaction<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction().execute(work);
}
