import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';

/** Blobs that are on their way out of the store. */
export interface BlobDeletions {
  readonly waiting: number;
  /** Of these: the store has refused at least once. */
  readonly failing: number;
  /** Since when the longest one waits. */
  readonly oldestAt: Date | null;
  /** What the store said last. */
  readonly lastError: string | null;
}

/** Tombstones of a project, or of all. */
export async function blobDeletions(db: Db, projectId?: string): Promise<BlobDeletions> {
  const query = db.selectFrom('tombstones').where('again_after', 'is', null);
  const row = await (projectId === undefined ? query : query.where('project_id', '=', projectId))
    .select([
      sql<number>`count(*)::integer`.as('waiting'),
      sql<number>`(count(*) FILTER (WHERE last_error IS NOT NULL))::integer`.as('failing'),
      sql<Date | null>`min(created_at)`.as('oldestAt'),
      sql<
        string | null
      >`(array_agg(last_error ORDER BY not_before DESC) FILTER (WHERE last_error IS NOT NULL))[1]`.as(
        'lastError',
      ),
    ])
    .executeTakeFirstOrThrow();
  return row;
}

/** What the lines of the timetable have done so far. */
export async function cleanupRuns(db: Db) {
  return db.selectFrom('cleanup_runs').selectAll().orderBy('name').execute();
}

/** Whether a job that waits or runs belongs to the project; locks nothing. */
export async function isJobOf(tx: Tx, projectId: string, id: string): Promise<boolean> {
  const waiting = tx
    .selectFrom('waiting_jobs')
    .select('id')
    .where('id', '=', id)
    .where('project_id', '=', projectId);
  const running = tx
    .selectFrom('running_jobs')
    .select('id')
    .where('id', '=', id)
    .where('project_id', '=', projectId);
  return (await waiting.unionAll(running).execute()).length > 0;
}
