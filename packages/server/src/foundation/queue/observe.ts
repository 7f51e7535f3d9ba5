import { sql, type RawBuilder } from 'kysely';

import type { Db, Tx } from '../database/connect.js';
import { lanes, type Lane } from './define.js';
import { channel } from './listen.js';
import { nextTurn, shareOf } from './turns.js';

/** `delayed` waits for its time (a retry, a job for later); `expired` runs under a lease that has run out. */
export type DepthState = 'waiting' | 'delayed' | 'running' | 'expired' | 'dead';

export interface QueueDepth {
  readonly kind: string;
  readonly state: DepthState;
  readonly count: number;
}

/** Counts jobs that are not over, and dead letters. Reads all waiting rows: some 100 ms per million. */
export async function queueDepth(db: Db): Promise<QueueDepth[]> {
  const { rows } = await sql<QueueDepth>`
    SELECT kind, CASE WHEN turn IS NULL THEN 'delayed' ELSE 'waiting' END AS state, count(*) AS count
    FROM waiting_jobs GROUP BY 1, 2
    UNION ALL
    SELECT kind, CASE WHEN lease_until < now() THEN 'expired' ELSE 'running' END, count(*)
    FROM running_jobs GROUP BY 1, 2
    UNION ALL
    SELECT kind, 'dead', count(*) FROM finished_jobs WHERE state = 'dead' GROUP BY 1
    ORDER BY 1, 2
  `.execute(db);
  return rows;
}

/**
 * Seconds since when the longest-waiting job of each lane could have run; 0 where none waits. The number to alert
 * on: it grows when workers are missing, however busy the queue is.
 */
export async function oldestWaitingAge(db: Db): Promise<Record<Lane, number>> {
  const { rows } = await sql<{ lane: number; seconds: number }>`
    SELECT lane, extract(epoch FROM now() - min(run_at))::float8 AS seconds
    FROM waiting_jobs WHERE run_at <= now() GROUP BY lane
  `.execute(db);
  const secondsOf = (lane: Lane) => rows.find((row) => row.lane === lanes.indexOf(lane))?.seconds ?? 0;
  return {
    interactive: secondsOf('interactive'),
    normal: secondsOf('normal'),
    background: secondsOf('background'),
  };
}

/** The line of the timetable that has been due for longest; undefined while none is. It stands still without workers. */
export async function longestOverdue(
  db: Db,
): Promise<{ readonly name: string; readonly seconds: number } | undefined> {
  const { rows } = await sql<{ name: string; seconds: number }>`
    SELECT name, extract(epoch FROM now() - next_run_at)::float8 AS seconds
    FROM timetable WHERE next_run_at <= now() ORDER BY next_run_at LIMIT 1
  `.execute(db);
  return rows[0];
}

/** A job that is not over, as a person sees it. */
export interface OpenJob {
  readonly id: string;
  readonly kind: string;
  readonly lane: Lane;
  readonly attempt: number;
  readonly maxAttempts: number;
  /** Why the attempt before failed; one line, without secrets. */
  readonly error: string | null;
  readonly createdAt: Date;
  /** Waiting: when it may run. Running: when its worker took it. */
  readonly since: Date;
}

/** Jobs of a project that wait (also for their time) or run, those of the newest first: up to `limit`. */
export async function listOpen(
  db: Db,
  state: 'waiting' | 'running',
  {
    projectId,
    limit,
    before,
  }: { readonly projectId: string; readonly limit: number; readonly before?: string | undefined },
): Promise<OpenJob[]> {
  const table = sql.raw(state === 'waiting' ? 'waiting_jobs' : 'running_jobs');
  const since = sql.raw(state === 'waiting' ? 'run_at' : 'claimed_at');
  const older = before === undefined ? sql`true` : sql`id < ${before}::uuid`;
  const { rows } = await sql<Omit<OpenJob, 'lane'> & { lane: number }>`
    SELECT id, kind, lane, attempt, max_attempts AS "maxAttempts", error, created_at AS "createdAt", ${since} AS since
    FROM ${table}
    WHERE ${state === 'waiting' ? shareOf(sql.ref('project_id')) : sql.ref('project_id')} = ${projectId}::uuid AND ${older}
    ORDER BY id DESC LIMIT ${limit}`.execute(db);
  return rows.map((row) => ({ ...row, lane: lanes[row.lane] ?? 'background' }));
}

/** How many jobs of a project wait, run or are dead, by kind; dead letters are counted up to 1,000. */
export async function countJobs(db: Db, projectId: string): Promise<QueueDepth[]> {
  const { rows } = await sql<QueueDepth>`
    SELECT kind, CASE WHEN turn IS NULL THEN 'delayed' ELSE 'waiting' END AS state, count(*)::integer AS count
    FROM waiting_jobs WHERE ${shareOf(sql.ref('project_id'))} = ${projectId}::uuid GROUP BY 1, 2
    UNION ALL
    SELECT kind, CASE WHEN lease_until < now() THEN 'expired' ELSE 'running' END, count(*)::integer
    FROM running_jobs WHERE project_id = ${projectId}::uuid GROUP BY 1, 2
    UNION ALL
    SELECT kind, 'dead', count(*)::integer FROM (
      SELECT kind FROM finished_jobs WHERE state = 'dead' AND project_id = ${projectId}::uuid LIMIT 1000
    ) AS dead GROUP BY 1
    ORDER BY 1, 2`.execute(db);
  return rows;
}

/** Jobs of one kind, project and lane that are not over, counted up to `limit`. */
export async function countOpen(
  db: Db,
  { kind, projectId, lane }: { readonly kind: string; readonly projectId: string; readonly lane: Lane },
  limit: number,
): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    SELECT count(*)::integer AS count FROM (
      (SELECT FROM waiting_jobs
        WHERE ${shareOf(sql.ref('project_id'))} = ${projectId}::uuid AND lane = ${lanes.indexOf(lane)} AND kind = ${kind}
        LIMIT ${limit})
      UNION ALL
      (SELECT FROM running_jobs
        WHERE project_id = ${projectId}::uuid AND lane = ${lanes.indexOf(lane)} AND kind = ${kind} LIMIT ${limit})
    ) AS open`.execute(db);
  return Math.min(limit, rows[0]?.count ?? 0);
}

/** A dead letter, as a person sees it. */
export interface DeadLetter {
  readonly id: string;
  readonly kind: string;
  readonly projectId: string | null;
  readonly attempt: number;
  /** One line, without secrets, at most 1,000 characters. */
  readonly error: string | null;
  readonly createdAt: Date;
  readonly finishedAt: Date;
}

export interface DeadPage {
  /** Only those of one project; of all when absent. */
  readonly projectId?: string | undefined;
  /** Most letters on the page. */
  readonly limit: number;
  /** Those older than this id: the last one of the page before. */
  readonly before?: string | undefined;
}

/** Dead letters, those of the newest jobs first. */
export async function listDead(db: Db, { projectId, limit, before }: DeadPage): Promise<DeadLetter[]> {
  let query = db
    .selectFrom('finished_jobs')
    .select(['id', 'kind', 'project_id', 'attempt', 'error', 'created_at', 'finished_at'])
    .where('state', '=', 'dead')
    .orderBy('id', 'desc')
    .limit(limit);
  if (projectId !== undefined) query = query.where('project_id', '=', projectId);
  if (before !== undefined) query = query.where('id', '<', before);
  return (await query.execute()).map((row) => ({
    id: row.id,
    kind: row.kind,
    projectId: row.project_id,
    attempt: row.attempt,
    error: row.error,
    createdAt: row.created_at,
    finishedAt: row.finished_at,
  }));
}

/**
 * Lets a dead letter be tried again, with `attempts` more attempts; their numbers go on where they had stopped.
 * A waiting job with its dedupe key does its work instead.
 * @returns false when there is no such dead letter (in the project, if one is given).
 */
export async function retryDead(
  tx: Tx,
  id: string,
  { attempts, projectId }: { readonly attempts: number; readonly projectId?: string | undefined },
): Promise<boolean> {
  const ofProject = projectId === undefined ? sql`true` : sql`project_id = ${projectId}`;
  const { rows } = await sql<{ retried: boolean }>`
    WITH dead AS (
      DELETE FROM finished_jobs WHERE id = ${id} AND state = 'dead' AND ${ofProject} RETURNING *
    ), stopped AS (
      DELETE FROM cancelled_jobs WHERE id = ${id}
    ), back AS (
      INSERT INTO waiting_jobs (
        id, kind, payload, project_id, lane, turn, run_at, dedupe_key, attempt, max_attempts, error, created_at
      )
      SELECT id, kind, payload, project_id, lane, ${nextTurn(sql.ref('dead.lane'), shareOf(sql.ref('dead.project_id')))},
        now(), dedupe_key, attempt, attempt + ${attempts}::integer, error, created_at
      FROM dead
      ON CONFLICT (kind, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING
      RETURNING id
    ), merged AS (
      INSERT INTO finished_jobs (id, kind, state, project_id, lane, dedupe_key, attempt, error, created_at)
      SELECT id, kind, 'merged', project_id, lane, dedupe_key, attempt, error, created_at
      FROM dead WHERE id NOT IN (SELECT id FROM back)
    )
    SELECT pg_notify(${channel}, '') IS NOT NULL AS retried FROM dead
  `.execute(tx);
  return rows.length > 0;
}

/** Since when jobs must be over to be forgotten. */
export interface FinishedAges {
  readonly olderThanSeconds: number;
  /** The same for dead letters. */
  readonly deadOlderThanSeconds: number;
}

/** The rows that `forgetFinished` takes. */
export function oldFinished({ olderThanSeconds, deadOlderThanSeconds }: FinishedAges): RawBuilder<unknown> {
  const before = (seconds: number) => sql`now() - ${seconds}::float8 * interval '1 second'`;
  return sql`
    SELECT ctid FROM finished_jobs
    WHERE finished_at < ${before(Math.min(olderThanSeconds, deadOlderThanSeconds))}
      AND finished_at < CASE WHEN state = 'dead' THEN ${before(deadOlderThanSeconds)}
        ELSE ${before(olderThanSeconds)} END`;
}

/**
 * Forgets jobs that were over before `olderThanSeconds`; dead letters are kept for `deadOlderThanSeconds`. At most
 * `limit` rows at once (default 10,000), so that no transaction grows long.
 * @returns how many; `limit` or more means that there may be more.
 */
export async function forgetFinished(
  db: Db,
  options: FinishedAges & { readonly limit?: number },
): Promise<number> {
  const limit = options.limit ?? 10_000;
  const { rows } = await sql<{ count: number }>`
    WITH old AS (
      DELETE FROM finished_jobs WHERE ctid = ANY (ARRAY(
        ${oldFinished(options)} LIMIT ${limit} FOR UPDATE SKIP LOCKED
      ))
      RETURNING id
    ), stale AS (
      -- Cancellations that came while their job was just finishing.
      DELETE FROM cancelled_jobs AS cancelled
      WHERE created_at < now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM running_jobs WHERE running_jobs.id = cancelled.id)
    )
    SELECT count(*) AS count FROM old
  `.execute(db);
  return rows[0]?.count ?? 0;
}
