import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';
import type { Role } from './permissions.js';

/** What the guard must know of the project that a request is about. */
export interface Target {
  readonly projectId: string;
  readonly ownerId: string;
  /** What the person who asks is in the project; undefined when they are nothing there, or nobody asks. */
  readonly role: Role | undefined;
  readonly visibility: 'public' | 'private';
  /** The project or file is in the trash. */
  readonly trashed?: boolean;
}

const ofProject = sql<'public' | 'private'>`coalesce(projects.settings->>'visibility', 'private')`;
const ofFile = sql<
  'public' | 'private'
>`coalesce(files.visibility, projects.settings->>'visibility', 'private')`;

/** Of the person in the project of the query; null when they are nothing there. */
const roleOf = (userId: string | undefined) =>
  userId === undefined
    ? sql<null>`null`
    : sql<Role | null>`CASE WHEN projects.owner_id = ${userId}::uuid THEN 'owner' ELSE (
        SELECT role FROM project_members WHERE project_id = projects.id AND user_id = ${userId}::uuid) END`;

const targetOf = ({ role, ...row }: Omit<Target, 'role'> & { readonly role: Role | null }): Target => ({
  ...row,
  role: role ?? undefined,
});

/**
 * A living project, and what the person is in it.
 * @param trash also one in the trash, unless it is being purged.
 */
export async function findProjectTarget(
  db: Db,
  projectId: string,
  userId: string | undefined,
  trash = false,
): Promise<Target | undefined> {
  const row = await db
    .selectFrom('projects')
    .select(['projects.id as projectId', 'projects.owner_id as ownerId', ofProject.as('visibility')])
    .select(roleOf(userId).as('role'))
    .select(sql<boolean>`projects.deleted_at IS NOT NULL`.as('trashed'))
    .where('projects.id', '=', projectId)
    .where(trash ? 'projects.purged_at' : 'projects.deleted_at', 'is', null)
    .executeTakeFirst();
  return row && targetOf(row);
}

/**
 * The living project of a file that exists for others: acknowledged and not in the trash.
 * @param trash also of one in the trash.
 */
export async function findFileTarget(
  db: Db,
  fileId: string,
  userId: string | undefined,
  trash = false,
): Promise<Target | undefined> {
  const row = await db
    .selectFrom('files')
    .innerJoin('projects', 'projects.id', 'files.project_id')
    .select(['projects.id as projectId', 'projects.owner_id as ownerId', ofFile.as('visibility')])
    .select(roleOf(userId).as('role'))
    .select(sql<boolean>`files.deleted_at IS NOT NULL`.as('trashed'))
    .where('files.id', '=', fileId)
    .$if(!trash, (query) => query.where('files.deleted_at', 'is', null))
    .where('files.status', 'in', ['processing', 'ready', 'failed'])
    .where('projects.deleted_at', 'is', null)
    .executeTakeFirst();
  return row && targetOf(row);
}

/** What somebody who is not its owner is in a project. */
export async function findMembership(
  db: Db,
  projectId: string,
  userId: string,
): Promise<{ readonly role: Role } | undefined> {
  const row = await db
    .selectFrom('project_members')
    .select('role')
    .where('project_id', '=', projectId)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return row && { role: row.role === 'editor' ? 'editor' : 'viewer' };
}
