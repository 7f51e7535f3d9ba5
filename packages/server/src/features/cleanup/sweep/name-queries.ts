import { sql } from 'kysely';

import type { UnfinishedMultipart } from '../../../foundation/blobs/blob-store.js';
import type { Db } from '../../../foundation/database/connect.js';
import { isPutAlive, livingKeys } from '../queries.js';

/** A row that says that there is a blob under its key. */
export interface HeldName {
  readonly key: string;
  readonly projectId: string;
  readonly fileId: string;
  /** Null for an original. */
  readonly variant: string | null;
  /** Bytes. */
  readonly size: number;
}

/** The keys of one page. */
export interface NameRange {
  /** The page begins behind this key. */
  readonly after: string;
  /** And ends before this one; undefined: where the keys end. */
  readonly before: string | undefined;
  /** Rows, at most. */
  readonly limit: number;
}

/** Originals (trash included) and variants whose bytes must be in the store, ordered by the bytes of their keys. */
export async function heldNames(db: Db, { after, before, limit }: NameRange): Promise<readonly HeldName[]> {
  const files = originals(db).where('s3_key', '>', after).orderBy('s3_key').limit(limit);
  const variants = derived(db).where('s3_key', '>', after).orderBy('s3_key').limit(limit);
  return db
    .selectFrom((before === undefined ? files : files.where('s3_key', '<', before)).as('files'))
    .selectAll()
    .unionAll(
      db
        .selectFrom((before === undefined ? variants : variants.where('s3_key', '<', before)).as('variants'))
        .selectAll(),
    )
    .orderBy('key')
    .limit(limit)
    .execute();
}

/** Those of the keys that a row says are in the store. */
export async function stillHeld(db: Db, keys: readonly string[]): Promise<ReadonlySet<string>> {
  if (keys.length === 0) return new Set();
  const rows = await originals(db)
    .where('s3_key', 'in', keys)
    .unionAll(derived(db).where('s3_key', 'in', keys))
    .execute();
  return new Set(rows.map(({ key }) => key));
}

function originals(db: Db) {
  return db
    .selectFrom('files')
    .select([
      's3_key as key',
      'project_id as projectId',
      'id as fileId',
      sql<string | null>`null`.as('variant'),
      sql<number>`size`.as('size'),
    ])
    .where('status', 'in', ['processing', 'ready', 'failed']);
}

/** A variant that is rendered anew keeps its former blob until the new one is there, whatever its state says. */
function derived(db: Db) {
  return db
    .selectFrom('variants')
    .select([
      sql<string>`s3_key`.as('key'),
      'project_id as projectId',
      'file_id as fileId',
      sql<string | null>`name`.as('variant'),
      sql<number>`size`.as('size'),
    ])
    .where('s3_key', 'is not', null)
    .where('sha256', 'is not', null);
}

/**
 * Those of the keys that anything names: a living row, an upload that is just being given up, or a tombstone, whose key
 * is on its way out already.
 */
export async function namedKeys(db: Db, keys: readonly string[]): Promise<ReadonlySet<string>> {
  if (keys.length === 0) return new Set();
  // Living rows first: what is given up between the two looks has become a tombstone by the second.
  const living = await livingKeys(db, keys);
  const leaving = await db
    .selectFrom('tombstones')
    .select('key')
    .where('key', 'in', keys)
    .unionAll(db.selectFrom('files').select('s3_key as key').where('s3_key', 'in', keys))
    .execute();
  return new Set([...living, ...leaving.map(({ key }) => key)]);
}

/** Whether an unfinished put in parts is somebody's, or belongs to an upload that is over and is being tidied away. */
export async function isPutNamed(db: Db, put: UnfinishedMultipart): Promise<boolean> {
  const upload = await db
    .selectFrom('uploads')
    .select('id')
    .where('multipart_id', '=', put.uploadId)
    .executeTakeFirst();
  return upload !== undefined || (await isPutAlive(db, put));
}

/** Those of the projects that there are, deleted ones included. */
export async function knownProjects(db: Db, ids: readonly string[]): Promise<ReadonlySet<string>> {
  if (ids.length === 0) return new Set();
  const rows = await db.selectFrom('projects').select('id').where('id', 'in', ids).execute();
  return new Set(rows.map(({ id }) => id));
}

/** The database's clock, by which all ages are told. */
export async function databaseTime(db: Db): Promise<Date> {
  const { now } = await db.selectNoFrom(sql<Date>`now()`.as('now')).executeTakeFirstOrThrow();
  return now;
}
