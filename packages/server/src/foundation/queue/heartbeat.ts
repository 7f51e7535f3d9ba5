import { sql } from 'kysely';

import type { Db } from '../database/connect.js';
import type { Held } from './claim.js';

/** Recognises an attempt: a process may meet a job again that it has lost. */
export function heldKey({ id, token }: Held): string {
  return `${id}/${token}`;
}

/**
 * Renews the leases of all held jobs in one statement.
 * A row that is locked at this moment is being finished by its own holder: it is not waited for, and its lease,
 * renewed three times as often as needed, lasts.
 * @returns by `heldKey`, those that are still held; the others belong to somebody else.
 */
export async function renewLeases(
  db: Db,
  held: readonly Held[],
  leaseSeconds: number,
): Promise<Map<string, { readonly cancelled: boolean }>> {
  const ids = held.map((job) => job.id);
  const tokens = held.map((job) => job.token);
  const { rows } = await sql<Held & { readonly cancelled: boolean }>`
    WITH mine AS (
      SELECT running.id, running.token FROM running_jobs AS running
      JOIN unnest(${ids}::uuid[], ${tokens}::uuid[]) AS held (id, token)
        ON running.id = held.id AND running.token = held.token
    ), free AS (
      SELECT id, token FROM running_jobs WHERE id IN (SELECT id FROM mine) FOR UPDATE SKIP LOCKED
    ), renewed AS (
      UPDATE running_jobs AS running SET lease_until = now() + ${leaseSeconds}::float8 * interval '1 second'
      FROM free JOIN mine USING (id, token)
      WHERE running.id = free.id AND running.token = free.token
    )
    SELECT id, token, EXISTS (SELECT FROM cancelled_jobs WHERE cancelled_jobs.id = mine.id) AS cancelled FROM mine
  `.execute(db);
  return new Map(rows.map((row) => [heldKey(row), { cancelled: row.cancelled }]));
}
