import { sql } from 'kysely';

import type { Db } from '../../../foundation/database/connect.js';
import { livingStates } from './queries.js';

const before = (seconds: number) => sql<Date>`now() - make_interval(secs => ${seconds}::float8)`;

/**
 * Forgets imports that ended `seconds` ago.
 * @returns how many, at most `limit`.
 */
export async function forgetImports(db: Db, seconds: number, limit: number): Promise<number> {
  const gone = await db
    .deleteFrom('imports')
    .where('id', 'in', endedImports(db, seconds).limit(limit).forUpdate().skipLocked())
    .executeTakeFirst();
  return Number(gone.numDeletedRows);
}

/** Imports that ended `seconds` ago. */
export function endedImports(db: Db, seconds: number) {
  return db
    .selectFrom('imports')
    .select('id')
    .where('status', 'not in', livingStates)
    .where('updated_at', '<', before(seconds));
}

/** Imports that have neither moved nor ended for `seconds`. */
export function stillImports(db: Db, seconds: number) {
  return db
    .selectFrom('imports')
    .select(['id', 'project_id'])
    .where('status', 'in', livingStates)
    .where('updated_at', '<', before(seconds))
    .orderBy('updated_at');
}
