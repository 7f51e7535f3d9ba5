import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';

/** What the guard must know of the project that a request is about. */
export interface Target {
  readonly projectId: string;
  readonly ownerId: string;
  readonly visibility: 'public' | 'private';
  /** The project or file is in the trash. */
  readonly trashed?: boolean;
}

const ofProject = sql<'public' | 'private'>`coalesce(projects.settings->>'visibility', 'private')`;
const ofFile = sql<
  'public' | 'private'
>`coalesce(files.visibility, projects.settings->>'visibility', 'private')`;

/**
 * A living project.
 * @param trash also one in the trash, unless it is being purged.
 */
export async function findProjectTarget(
  db: Db,
  projectId: string,
  trash = false,
): Promise<Target | undefined> {
  return db
    .selectFrom('projects')
    .select(['projects.id as projectId', 'projects.owner_id as ownerId', ofProject.as('visibility')])
    .select(sql<boolean>`projects.deleted_at IS NOT NULL`.as('trashed'))
    .where('projects.id', '=', projectId)
    .where(trash ? 'projects.purged_at' : 'projects.deleted_at', 'is', null)
    .executeTakeFirst();
}

/**
 * The living project of a file that exists for others: acknowledged and not in the trash.
 * @param trash also of one in the trash.
 */
export async function findFileTarget(db: Db, fileId: string, trash = false): Promise<Target | undefined> {
  return db
    .selectFrom('files')
    .innerJoin('projects', 'projects.id', 'files.project_id')
    .select(['projects.id as projectId', 'projects.owner_id as ownerId', ofFile.as('visibility')])
    .select(sql<boolean>`files.deleted_at IS NOT NULL`.as('trashed'))
    .where('files.id', '=', fileId)
    .$if(!trash, (query) => query.where('files.deleted_at', 'is', null))
    .where('files.status', 'in', ['processing', 'ready', 'failed'])
    .where('projects.deleted_at', 'is', null)
    .executeTakeFirst();
}
