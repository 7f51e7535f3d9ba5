import { sql } from 'kysely';

import type { Db, Tx } from '../database/connect.js';
import type { Held } from './claim.js';
import { LeaseLost, type DeadJob, type JobHandler } from './define.js';

/**
 * Marks a job done in the caller's transaction. The last statement before COMMIT, so that the job's row is locked
 * last and only for a moment.
 * @throws LeaseLost when the token no longer holds the job; let the transaction roll back.
 */
export async function complete(tx: Tx, held: Held): Promise<void> {
  if (!(await archive(tx, held, 'done', null))) throw new LeaseLost('another process has taken the job over');
}

/**
 * Turns a job into a dead letter, together with what its handler does about it.
 * @throws LeaseLost when the token no longer holds the job, and whatever the handler's hook throws.
 */
export async function bury(db: Db, job: Held & DeadJob, handler: JobHandler, reason: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const { id, payload, projectId } = job;
    await handler.dead?.(tx, { id, payload, projectId }, reason);
    if (!(await archive(tx, job, 'dead', reason)))
      throw new LeaseLost('another process has taken the job over');
  });
}

async function archive(tx: Tx, held: Held, state: 'done' | 'dead', error: string | null): Promise<boolean> {
  const { rows } = await sql`
    WITH over AS (
      DELETE FROM running_jobs WHERE id = ${held.id} AND token = ${held.token} RETURNING *
    )
    INSERT INTO finished_jobs (id, kind, state, payload, project_id, lane, dedupe_key, attempt, error, created_at)
    SELECT id, kind, ${state}, ${state === 'dead' ? sql`payload` : sql`NULL`}, project_id, lane, dedupe_key, attempt,
      ${error}, created_at
    FROM over
    RETURNING id
  `.execute(tx);
  return rows.length > 0;
}
