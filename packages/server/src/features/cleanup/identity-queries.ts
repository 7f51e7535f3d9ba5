import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';

export interface Installation {
  readonly id: string;
  /** Whether a store has ever been seen to bear the id. */
  readonly marked: boolean;
  /** Since when nothing may be deleted, because a backup was restored; null when nothing speaks against it. */
  readonly deletionsPausedAt: Date | null;
}

/** The installation that this database is; undefined before its first start. */
export async function findInstallation(db: Db): Promise<Installation | undefined> {
  const row = await db
    .selectFrom('installation')
    .select(['id', 'marked_at', 'deletions_paused_at'])
    .executeTakeFirst();
  return row && { id: row.id, marked: row.marked_at !== null, deletionsPausedAt: row.deletions_paused_at };
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

/** Nothing is deleted any more until the pause is lifted. */
export async function pauseDeletions(db: Db): Promise<void> {
  await ensureInstallation(db);
  await db
    .updateTable('installation')
    .set({ deletions_paused_at: sql<Date>`now()` })
    .execute();
}

/** @returns whether there was a pause. */
export async function liftPause(db: Db): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('installation')
    .set({ deletions_paused_at: null })
    .where('deletions_paused_at', 'is not', null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}
