import { sql } from 'kysely';

import type { Db } from '../database/connect.js';

/** Names one attempt: whoever holds the token holds the job. */
export interface Held {
  readonly id: string;
  readonly token: string;
}

/** A job that this process holds. */
export interface ClaimedJob extends Held {
  readonly kind: string;
  /** Not checked yet. */
  readonly payload: unknown;
  readonly projectId: string | null;
  readonly attempt: number;
  readonly maxAttempts: number;
}

export interface Exchange {
  /** Jobs whose work is done. */
  readonly done: readonly Held[];
  /** How many jobs to claim, at most. */
  readonly want: number;
  /** Kinds that this process has a handler for; others are left to those who do. */
  readonly kinds: readonly string[];
  /** New for every exchange; the fencing token of what it claims. */
  readonly token: string;
  readonly holder: string;
  readonly leaseSeconds: number;
}

export interface Exchanged {
  readonly claimed: ClaimedJob[];
  /** Of `done`, those that were still held and are finished now; others belong to somebody else. */
  readonly finished: Set<string>;
}

interface Row {
  readonly id: string;
  readonly kind: string | null;
  readonly payload: unknown;
  readonly project_id: string | null;
  readonly attempt: number | null;
  readonly max_attempts: number | null;
}

/**
 * Finishes jobs and claims others in one round trip and one transaction, which is most of the drain rate.
 * The claim is one ordered scan of the index (lane, turn) that stops after `want` rows; rows that others are
 * just claiming are skipped, so claimers never wait for one another.
 */
export async function exchange(
  db: Db,
  { done, want, kinds, token, holder, leaseSeconds }: Exchange,
): Promise<Exchanged> {
  const over = sql`
    over AS (
      DELETE FROM running_jobs AS running
      USING unnest(${done.map((job) => job.id)}::uuid[], ${done.map((job) => job.token)}::uuid[]) AS held (id, token)
      WHERE running.id = held.id AND running.token = held.token
      RETURNING running.id, kind, project_id, lane, dedupe_key, attempt, created_at
    ), archived AS (
      INSERT INTO finished_jobs (id, kind, state, project_id, lane, dedupe_key, attempt, created_at)
      SELECT id, kind, 'done', project_id, lane, dedupe_key, attempt, created_at FROM over
    )`;
  const claimed = sql`
    taken AS (
      DELETE FROM waiting_jobs
      WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM waiting_jobs
        -- The kinds stand in a subquery so that the planner cannot look them up in its statistics: with kinds
        -- that it thinks rare it would read and sort the whole table.
        WHERE turn IS NOT NULL AND kind = ANY (ARRAY(SELECT unnest(${kinds}::text[])))
        ORDER BY lane, turn LIMIT ${want} FOR UPDATE SKIP LOCKED
      ))
      RETURNING id, kind, payload, project_id, lane, turn, dedupe_key, attempt + 1 AS attempt, max_attempts, error, created_at
    ), claimed AS (
      INSERT INTO running_jobs (
        id, token, holder, lease_until, kind, payload, project_id, lane, dedupe_key, attempt, max_attempts, error, created_at
      )
      SELECT id, ${token}::uuid, ${holder}, now() + ${leaseSeconds}::float8 * interval '1 second', kind, payload,
        project_id, lane, dedupe_key, attempt, max_attempts, error, created_at
      FROM taken
    )`;
  const finishedRows = sql`
    SELECT id, NULL::text AS kind, NULL::jsonb AS payload, NULL::uuid AS project_id, NULL::integer AS attempt,
      NULL::integer AS max_attempts, NULL::smallint AS lane, NULL::bigint AS turn
    FROM over`;
  const claimedRows = sql`
    SELECT id, kind, payload, project_id, attempt, max_attempts, lane, turn FROM taken`;
  const statement =
    want === 0
      ? sql<Row>`WITH ${over} ${finishedRows}`
      : done.length === 0
        ? sql<Row>`WITH ${claimed} ${claimedRows} ORDER BY lane, turn`
        : sql<Row>`WITH ${over}, ${claimed} ${finishedRows} UNION ALL ${claimedRows} ORDER BY lane, turn`;
  const { rows } = await statement.execute(db);
  const result: Exchanged = { claimed: [], finished: new Set() };
  for (const row of rows) {
    if (row.kind === null || row.attempt === null || row.max_attempts === null) {
      result.finished.add(row.id);
      continue;
    }
    result.claimed.push({
      id: row.id,
      token,
      kind: row.kind,
      payload: row.payload,
      projectId: row.project_id,
      attempt: row.attempt,
      maxAttempts: row.max_attempts,
    });
  }
  return result;
}
