import { sql, type Selectable } from 'kysely';

import type { Db } from '../../../foundation/database/connect.js';
import type { QuarantinedBlobs } from '../../../foundation/database/tables.js';

/** A blob that was moved away, or is being moved. */
export type QuarantinedRow = Selectable<QuarantinedBlobs>;

export interface MovedBlob {
  /** Where it was. */
  readonly key: string;
  readonly projectId: string | null;
  /** Bytes. */
  readonly size: number;
  readonly modifiedAt: Date | null;
}

/** Names a blob that is about to be moved; committed before the move. A key that was moved before counts anew. */
export async function noteMove(db: Db, { key, projectId, size, modifiedAt }: MovedBlob): Promise<void> {
  await db
    .insertInto('quarantined_blobs')
    .values({ key, project_id: projectId, size, modified_at: modifiedAt })
    .onConflict((conflict) =>
      conflict.column('key').doUpdateSet({
        size,
        modified_at: modifiedAt,
        quarantined_at: sql<Date>`now()`,
        moved_at: null,
        last_error: null,
      }),
    )
    .execute();
}

/** The move is complete: the second period begins. */
export async function noteMoved(db: Db, key: string): Promise<void> {
  await db
    .updateTable('quarantined_blobs')
    .set({ moved_at: sql<Date>`now()` })
    .where('key', '=', key)
    .where('moved_at', 'is', null)
    .execute();
}

/** Writes down blobs found in quarantine that no row names any more; their second period begins now. */
export async function adoptQuarantined(db: Db, blobs: readonly MovedBlob[]): Promise<void> {
  if (blobs.length === 0) return;
  await db
    .insertInto('quarantined_blobs')
    .values(
      blobs.map(({ key, projectId, size, modifiedAt }) => ({
        key,
        project_id: projectId,
        size,
        modified_at: modifiedAt,
        moved_at: sql<Date>`now()`,
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Those of the keys that are written down as moved, or being moved. */
export async function quarantinedAmong(db: Db, keys: readonly string[]): Promise<ReadonlySet<string>> {
  if (keys.length === 0) return new Set();
  const rows = await db.selectFrom('quarantined_blobs').select('key').where('key', 'in', keys).execute();
  return new Set(rows.map(({ key }) => key));
}

/** Rows behind the key `after`, by key. */
export async function quarantinedAfter(
  db: Db,
  after: string,
  limit: number,
): Promise<readonly QuarantinedRow[]> {
  return db
    .selectFrom('quarantined_blobs')
    .selectAll()
    .where('key', '>', after)
    .orderBy('key')
    .limit(limit)
    .execute();
}

/** Rows whose second period of `seconds` is over, the oldest first; those that failed in this run are left out. */
export async function dueQuarantined(
  db: Db,
  seconds: number,
  limit: number,
  skip: ReadonlySet<string>,
): Promise<readonly QuarantinedRow[]> {
  let query = db
    .selectFrom('quarantined_blobs')
    .selectAll()
    .where('moved_at', '<=', sql<Date>`now() - make_interval(secs => ${seconds}::float8)`);
  if (skip.size > 0) query = query.where('key', 'not in', [...skip]);
  return query.orderBy('moved_at').limit(limit).execute();
}

export async function forgetQuarantined(db: Db, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await db.deleteFrom('quarantined_blobs').where('key', 'in', keys).execute();
}

/** Why a blob could neither be brought back nor removed. */
export async function noteFailure(db: Db, key: string, reason: string): Promise<void> {
  await db
    .updateTable('quarantined_blobs')
    .set({ last_error: reason.slice(0, 1000) })
    .where('key', '=', key)
    .execute();
}

export async function countQuarantined(db: Db): Promise<{ readonly blobs: number; readonly bytes: number }> {
  return db
    .selectFrom('quarantined_blobs')
    .select([
      sql<number>`count(*)::float8`.as('blobs'),
      sql<number>`coalesce(sum(size), 0)::float8`.as('bytes'),
    ])
    .executeTakeFirstOrThrow();
}
