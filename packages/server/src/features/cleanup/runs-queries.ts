import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';

/** One run of a line of the timetable. */
export interface CleanupRun {
  readonly name: string;
  readonly seconds: number;
  /** Things removed, repaired or found, by what they are. */
  readonly counts: Readonly<Record<string, number>>;
  /** One line; undefined when it went well. */
  readonly error?: string | undefined;
}

/** Adds a run to what whoever watches is told. */
export async function keepRun(db: Db, { name, seconds, counts, error }: CleanupRun): Promise<void> {
  const failed = error === undefined ? 0 : 1;
  const text = JSON.stringify(counts);
  await sql`
    INSERT INTO cleanup_runs AS known (name, runs, failures, counts, last_run_at, last_seconds, last_error)
    VALUES (${name}, 1, ${failed}, ${text}::jsonb, now(), ${seconds}, ${error ?? null})
    ON CONFLICT (name) DO UPDATE SET
      runs = known.runs + 1,
      failures = known.failures + ${failed}::integer,
      counts = (
        SELECT coalesce(jsonb_object_agg(item, total), '{}') FROM (
          SELECT item, sum(amount::bigint) AS total FROM (
            SELECT * FROM jsonb_each_text(known.counts) UNION ALL SELECT * FROM jsonb_each_text(excluded.counts)
          ) AS both_runs (item, amount) GROUP BY item
        ) AS sums
      ),
      last_run_at = excluded.last_run_at, last_seconds = excluded.last_seconds, last_error = excluded.last_error
  `.execute(db);
}
