import { sql } from 'kysely';

import type { Db } from '../../../foundation/database/connect.js';
import { newId } from '../../../foundation/ids.js';

/** Seconds after which a hold that nobody renews ends. */
const holdSeconds = 10 * 60;

const until = sql<Date>`now() + make_interval(secs => ${holdSeconds})`;

/** Keeps every blob that a row names from now on in the store, until it is let go. */
export async function takeHold(db: Db): Promise<string> {
  const id = newId();
  await db
    .deleteFrom('blob_holds')
    .where('until', '<=', sql<Date>`now()`)
    .execute();
  await db.insertInto('blob_holds').values({ id, until }).execute();
  return id;
}

/** @returns false when the hold had ended: blobs may have been deleted since. */
export async function renewHold(db: Db, id: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('blob_holds')
    .set({ until })
    .where('id', '=', id)
    .where('until', '>', sql<Date>`now()`)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

export async function letGo(db: Db, id: string): Promise<void> {
  await db.deleteFrom('blob_holds').where('id', '=', id).execute();
}

/** Whether somebody keeps the blobs in the store at this moment. */
export async function isHeld(db: Db): Promise<boolean> {
  const hold = await db
    .selectFrom('blob_holds')
    .select('id')
    .where('until', '>', sql<Date>`now()`)
    .executeTakeFirst();
  return hold !== undefined;
}

/** Of another database there are none; neither are there any that the dump has taken along. */
export async function forgetHolds(db: Db): Promise<void> {
  await db.deleteFrom('blob_holds').execute();
}
