import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';

/** A blob that must be in the store, as its row describes it. */
export interface HeldBlob {
  readonly key: string;
  readonly size: number;
  readonly sha256: Buffer;
  readonly contentType: string;
}

/**
 * Originals (trash included) and variants whose bytes are known, behind the key `after`, ordered by the bytes of
 * their keys. Uploads and renders under way have no bytes yet that anything could be compared with.
 */
export async function heldBlobsAfter(db: Db, after: string, limit: number): Promise<readonly HeldBlob[]> {
  const files = originals(db).where('s3_key', '>', after).orderBy('s3_key').limit(limit);
  const variants = derived(db).where('s3_key', '>', after).orderBy('s3_key').limit(limit);
  const rows = await db
    .selectFrom(files.as('files'))
    .selectAll()
    .unionAll(db.selectFrom(variants.as('variants')).selectAll())
    .orderBy('key')
    .limit(limit)
    .execute();
  return rows.flatMap(held);
}

/** The same for one key; undefined when no row (any more) says what must be there. */
export async function heldBlob(db: Db, key: string): Promise<HeldBlob | undefined> {
  const rows = await originals(db)
    .where('s3_key', '=', key)
    .unionAll(derived(db).where('s3_key', '=', key))
    .execute();
  return rows.flatMap(held)[0];
}

/** How many there are, and their bytes. */
export async function countHeldBlobs(db: Db): Promise<{ readonly blobs: number; readonly bytes: number }> {
  const { blobs, bytes } = await db
    .selectFrom(originals(db).unionAll(derived(db)).as('held'))
    .select([
      sql<number>`count(*)::float8`.as('blobs'),
      sql<number>`coalesce(sum(size), 0)::float8`.as('bytes'),
    ])
    .executeTakeFirstOrThrow();
  return { blobs, bytes };
}

function originals(db: Db) {
  return db
    .selectFrom('files')
    .select(['s3_key as key', 'size', 'sha256', 'mime_type as contentType'])
    .where('status', 'in', ['processing', 'ready', 'failed']);
}

/** A variant that is rendered anew keeps its former blob until the new one is there, whatever its state says. */
function derived(db: Db) {
  return db
    .selectFrom('variants')
    .select([sql<string>`s3_key`.as('key'), 'size', 'sha256', sql<string>`mime_type`.as('contentType')])
    .where('s3_key', 'is not', null)
    .where('sha256', 'is not', null);
}

function held(row: {
  readonly key: string;
  readonly size: number | null;
  readonly sha256: Buffer | null;
  readonly contentType: string;
}): readonly HeldBlob[] {
  const { size, sha256, ...rest } = row;
  return size === null || sha256 === null ? [] : [{ ...rest, size, sha256 }];
}
