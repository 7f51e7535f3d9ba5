import { sql } from 'kysely';

import type { Db, Tx } from '../database/connect.js';
import type { JobKind } from './define.js';
import { cancelNotice, channel } from './listen.js';
import { shareOf } from './turns.js';

/** Which jobs: one by its id, the one with a dedupe key, or all of a project (of one kind, if given). */
export type CancelTarget =
  | { readonly id: string }
  | { readonly kind: JobKind; readonly dedupeKey: string }
  | { readonly projectId: string; readonly kind?: JobKind | undefined };

export interface Cancelled {
  /** Jobs that will not start. */
  readonly waiting: number;
  /** Jobs under way whose signal aborts after the commit. They may finish nevertheless; they are not retried. */
  readonly running: number;
}

/**
 * Cancels jobs when the caller's transaction commits. Their `dead` hook is not called: who cancels knows why.
 */
export async function cancel(tx: Tx, target: CancelTarget): Promise<Cancelled> {
  // A claim that is under way at this moment moves a job out of the first statement's sight and into the
  // second's; a retry moves one the other way, which the third catches.
  const first = await cancelWaiting(tx, target);
  const running = await cancelRunning(tx, target);
  const second = await cancelWaiting(tx, target);
  return { waiting: first + second, running };
}

/** True when running jobs may have been cancelled; the notice of it can be lost. */
export async function anyCancelled(db: Db): Promise<boolean> {
  const { rows } = await sql<{ any: boolean }>`SELECT EXISTS (SELECT FROM cancelled_jobs) AS any`.execute(db);
  return rows[0]?.any ?? false;
}

async function cancelWaiting(tx: Tx, target: CancelTarget): Promise<number> {
  const { rows } = await sql`
    WITH over AS (DELETE FROM waiting_jobs WHERE ${matches(target)} RETURNING *)
    INSERT INTO finished_jobs (id, kind, state, project_id, lane, dedupe_key, attempt, error, created_at)
    SELECT id, kind, 'cancelled', project_id, lane, dedupe_key, attempt, error, created_at FROM over
    RETURNING id
  `.execute(tx);
  return rows.length;
}

async function cancelRunning(tx: Tx, target: CancelTarget): Promise<number> {
  const { rows } = await sql`
    WITH marked AS (
      INSERT INTO cancelled_jobs (id) SELECT id FROM running_jobs WHERE ${matches(target)}
      ON CONFLICT (id) DO NOTHING
      RETURNING id
    )
    SELECT id, pg_notify(${channel}, ${cancelNotice}) FROM marked
  `.execute(tx);
  return rows.length;
}

function matches(target: CancelTarget) {
  if ('id' in target) return sql`id = ${target.id}`;
  if ('dedupeKey' in target) return sql`kind = ${target.kind.name} AND dedupe_key = ${target.dedupeKey}`;
  // The index on shares serves this.
  const ofProject = sql`${shareOf(sql.ref('project_id'))} = ${target.projectId}::uuid`;
  return target.kind ? sql`${ofProject} AND kind = ${target.kind.name}` : ofProject;
}
