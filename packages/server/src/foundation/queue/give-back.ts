import { sql, type RawBuilder } from 'kysely';

import type { Db } from '../database/connect.js';
import type { Held } from './claim.js';
import { channel } from './listen.js';
import { presentTurn } from './turns.js';

/** What became of a job that was given back: it waits again, stops, or leaves its work to a newcomer. */
export type GivenBack = 'waiting' | 'cancelled' | 'merged';

/**
 * Lets an attempt count as failed: the job waits for `delaySeconds` and is tried again, unless it was cancelled
 * or a newcomer with its dedupe key is waiting, which does its work.
 * @returns undefined when the token no longer holds the job.
 */
export async function retryLater(
  db: Db,
  held: Held,
  { delaySeconds, error }: { readonly delaySeconds: number; readonly error: string },
): Promise<GivenBack | undefined> {
  const over = sql`
    DELETE FROM running_jobs WHERE id = ${held.id} AND token = ${held.token}
    RETURNING *, 0 AS granted, ${error}::text AS reason,
      now() + ${delaySeconds}::float8 * interval '1 second' AS run_at, false AS due`;
  return (await giveBack(db, over)).get(held.id);
}

/**
 * Gives a job back that this process has no time for any more. The attempt keeps its number (what it has written
 * stays its own) but is granted anew, so it does not count.
 * @returns undefined when the token no longer holds the job.
 */
export async function release(db: Db, held: Held): Promise<GivenBack | undefined> {
  const over = sql`
    DELETE FROM running_jobs WHERE id = ${held.id} AND token = ${held.token}
    RETURNING *, 1 AS granted, error AS reason, now() AS run_at, true AS due`;
  return (await giveBack(db, over)).get(held.id);
}

/**
 * Takes back jobs whose holder has been silent for longer than its lease and that have attempts left. Run by
 * everybody at every poll.
 */
export async function releaseExpired(db: Db, kinds: readonly string[]): Promise<Map<string, GivenBack>> {
  const over = sql`
    DELETE FROM running_jobs WHERE id IN (
      SELECT id FROM running_jobs AS expired
      WHERE lease_until < now() AND kind = ANY (${kinds}::text[])
        AND (attempt < max_attempts OR EXISTS (SELECT FROM cancelled_jobs WHERE cancelled_jobs.id = expired.id))
      LIMIT 100 FOR UPDATE SKIP LOCKED
    )
    RETURNING *, 0 AS granted, 'the worker ' || holder || ' stopped answering' AS reason, now() AS run_at, true AS due`;
  return giveBack(db, over);
}

/**
 * Takes back all jobs, whoever holds them: the holders were those of another database, of which this one is a copy.
 * The attempt that was under way does not count.
 * @returns how many.
 */
export async function giveBackAll(db: Db): Promise<number> {
  const over = sql`
    DELETE FROM running_jobs
    RETURNING *, 1 AS granted, 'the database was restored' AS reason, now() AS run_at, true AS due`;
  return (await giveBack(db, over)).size;
}

/** Moves the rows that `over` deletes back to the waiting ones, in one statement. */
async function giveBack(db: Db, over: RawBuilder<unknown>): Promise<Map<string, GivenBack>> {
  const { rows } = await sql<{ id: string; state: GivenBack }>`
    WITH over AS (${over}), stopped AS (
      DELETE FROM cancelled_jobs USING over WHERE cancelled_jobs.id = over.id RETURNING cancelled_jobs.id
    ), back AS (
      INSERT INTO waiting_jobs (
        id, kind, payload, project_id, lane, turn, run_at, dedupe_key, attempt, max_attempts, error, created_at
      )
      SELECT id, kind, payload, project_id, lane, CASE WHEN due THEN ${presentTurn(sql.ref('over.lane'))} END, run_at,
        dedupe_key, attempt, max_attempts + granted, reason, created_at
      FROM over WHERE id NOT IN (SELECT id FROM stopped)
      ON CONFLICT (kind, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING
      RETURNING id, turn
    ), archived AS (
      INSERT INTO finished_jobs (id, kind, state, project_id, lane, dedupe_key, attempt, error, created_at)
      SELECT id, kind, CASE WHEN id IN (SELECT id FROM stopped) THEN 'cancelled' ELSE 'merged' END, project_id, lane,
        dedupe_key, attempt, reason, created_at
      FROM over WHERE id NOT IN (SELECT id FROM back)
      RETURNING id, state
    )
    SELECT id, 'waiting' AS state, CASE WHEN turn IS NOT NULL THEN pg_notify(${channel}, '') END FROM back
    UNION ALL SELECT id, state, NULL FROM archived
  `.execute(db);
  return new Map(rows.map(({ id, state }) => [id, state]));
}
