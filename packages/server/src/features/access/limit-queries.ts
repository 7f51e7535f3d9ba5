import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';

/** Counts whose window is over, by the processes' own clocks, for long enough that no clock is so far behind. */
export function endedCounts(db: Db) {
  return db
    .selectFrom('rate_limits')
    .select('key')
    .where('expire', '<', sql<number>`(extract(epoch FROM now() - interval '1 hour') * 1000)::bigint`);
}

/** @returns how many were forgotten, at most `limit`. */
export async function forgetCounts(db: Db, limit: number): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('rate_limits')
    .where('key', 'in', endedCounts(db).limit(limit).forUpdate().skipLocked())
    .executeTakeFirst();
  return Number(numDeletedRows);
}
