import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';

export interface Installation {
  readonly id: string;
  /** Whether a store has ever been seen to bear the id. */
  readonly marked: boolean;
}

/** The installation that this database is; undefined before its first start. */
export async function findInstallation(db: Db): Promise<Installation | undefined> {
  const row = await db.selectFrom('installation').select(['id', 'marked_at']).executeTakeFirst();
  return row && { id: row.id, marked: row.marked_at !== null };
}

/** The same, made at the first call; any number of processes get the one id. */
export async function ensureInstallation(db: Db): Promise<Installation> {
  await db
    .insertInto('installation')
    .values({ id: newId() })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const installation = await findInstallation(db);
  if (!installation) throw new TypeError('the row of the installation was just made');
  return installation;
}

/** The store bears the id from now on. */
export async function noteMarked(db: Db): Promise<void> {
  await db
    .updateTable('installation')
    .set({ marked_at: sql<Date>`now()` })
    .where('marked_at', 'is', null)
    .execute();
}
