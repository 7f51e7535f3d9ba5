import { sql } from 'kysely';

import type { Db } from '../database/connect.js';
import type { ClaimedJob } from './claim.js';
import { channel } from './listen.js';
import { nextTurn, shareOf } from './turns.js';

const batch = 500;

/**
 * Gives a place in their lane to waiting jobs whose time has come, at most 500 at once.
 * @returns how many; 500 means that there may be more.
 */
export async function admitDue(db: Db): Promise<{ readonly admitted: number; readonly more: boolean }> {
  const { rows } = await sql<{ admitted: number }>`
    WITH due AS (
      SELECT id, lane, ${shareOf(sql.ref('project_id'))} AS share, run_at FROM waiting_jobs
      WHERE turn IS NULL AND run_at <= now()
      ORDER BY run_at LIMIT ${batch} FOR UPDATE SKIP LOCKED
    ), shares AS (
      SELECT lane, share, ${nextTurn(sql.ref('s.lane'), sql.ref('s.share'))} AS turn
      FROM (SELECT DISTINCT lane, share FROM due) AS s
    ), placed AS (
      SELECT id, shares.turn - 1 + row_number() OVER (PARTITION BY due.lane, due.share ORDER BY run_at) AS turn
      FROM due JOIN shares USING (lane, share)
    ), admitted AS (
      UPDATE waiting_jobs AS waiting SET turn = placed.turn FROM placed WHERE waiting.id = placed.id
      RETURNING waiting.id
    )
    SELECT count(*)::integer AS admitted, CASE WHEN count(*) > 0 THEN pg_notify(${channel}, '') END FROM admitted
  `.execute(db);
  const admitted = rows[0]?.admitted ?? 0;
  return { admitted, more: admitted === batch };
}

/**
 * Takes over jobs whose holder fell silent during their last attempt. They are not run again; the taker makes
 * dead letters of them.
 */
export async function claimExpiredLast(
  db: Db,
  {
    kinds,
    token,
    holder,
    leaseSeconds,
  }: Pick<ClaimedJob, 'token'> & {
    readonly kinds: readonly string[];
    readonly holder: string;
    readonly leaseSeconds: number;
  },
): Promise<(ClaimedJob & { readonly formerHolder: string })[]> {
  const { rows } = await sql<{
    id: string;
    kind: string;
    payload: unknown;
    project_id: string | null;
    attempt: number;
    max_attempts: number;
    former_holder: string;
  }>`
    UPDATE running_jobs AS running
    SET token = ${token}, holder = ${holder}, lease_until = now() + ${leaseSeconds}::float8 * interval '1 second'
    FROM (
      SELECT id, holder FROM running_jobs
      WHERE lease_until < now() AND attempt >= max_attempts AND kind = ANY (${kinds}::text[])
      LIMIT 100 FOR UPDATE SKIP LOCKED
    ) AS expired
    WHERE running.id = expired.id
    RETURNING running.id, kind, payload, project_id, attempt, max_attempts, expired.holder AS former_holder
  `.execute(db);
  return rows.map((row) => ({
    id: row.id,
    token,
    kind: row.kind,
    payload: row.payload,
    projectId: row.project_id,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    formerHolder: row.former_holder,
  }));
}
