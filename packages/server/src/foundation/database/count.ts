import { sql, type Expression } from 'kysely';

import type { Db } from './connect.js';

/**
 * How many rows a query finds, `most` at most: what somebody wants to know before they go, and no more work than that.
 * Locks nothing; leave the query's own `limit` and `forUpdate` away.
 */
export async function countRows(db: Db, query: Expression<unknown>, most: number): Promise<number> {
  const { rows } = await sql<{ found: number }>`
    SELECT count(*)::integer AS found FROM (SELECT FROM (${query}) AS all_of_them LIMIT ${most}) AS some_of_them
  `.execute(db);
  return rows[0]?.found ?? 0;
}
