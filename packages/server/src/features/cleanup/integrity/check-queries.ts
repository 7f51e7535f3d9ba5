import { sql } from 'kysely';

import type { Db } from '../../../foundation/database/connect.js';
import type { Integrity, NamedBlob } from './damage-queries.js';

/** A blob whose bytes are compared with its row. */
export interface CheckedBlob extends NamedBlob {
  /** Bytes. */
  readonly size: number;
  readonly sha256: Buffer;
  readonly integrity: Integrity;
  /** Null: never. */
  readonly checkedAt: Date | null;
}

/**
 * Blobs that were checked before `before`, or never; those first that were checked longest ago.
 * @param limit at most so many.
 */
export async function leastChecked(db: Db, before: Date, limit: number): Promise<readonly CheckedBlob[]> {
  const files = originals(db)
    .where((eb) => eb.or([eb('integrity_checked_at', 'is', null), eb('integrity_checked_at', '<', before)]))
    .orderBy('integrity_checked_at', (order) => order.asc().nullsFirst())
    .orderBy('id')
    .limit(limit);
  const variants = derived(db)
    .where((eb) => eb.or([eb('integrity_checked_at', 'is', null), eb('integrity_checked_at', '<', before)]))
    .orderBy('integrity_checked_at', (order) => order.asc().nullsFirst())
    .orderBy('file_id')
    .orderBy('name')
    .limit(limit);
  return db
    .selectFrom(files.as('files'))
    .selectAll()
    .unionAll(db.selectFrom(variants.as('variants')).selectAll())
    .orderBy('checkedAt', (order) => order.asc().nullsFirst())
    .limit(limit)
    .execute();
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
      sql<Buffer>`sha256`.as('sha256'),
      sql<Integrity>`integrity`.as('integrity'),
      'integrity_checked_at as checkedAt',
    ])
    .where('status', 'in', ['processing', 'ready', 'failed']);
}

function derived(db: Db) {
  return db
    .selectFrom('variants')
    .select([
      sql<string>`s3_key`.as('key'),
      'project_id as projectId',
      'file_id as fileId',
      sql<string | null>`name`.as('variant'),
      sql<number>`size`.as('size'),
      sql<Buffer>`sha256`.as('sha256'),
      sql<Integrity>`integrity`.as('integrity'),
      'integrity_checked_at as checkedAt',
    ])
    .where('s3_key', 'is not', null)
    .where('sha256', 'is not', null);
}

/** Bytes that were read today (UTC) and the part of the day, 0 to 1, that is over. */
export async function readToday(db: Db): Promise<{ readonly bytes: number; readonly dayOver: number }> {
  const { bytes, dayOver } = await db
    .selectNoFrom((eb) => [
      eb.selectFrom('integrity_days').select('bytes').where('day', '=', today).as('bytes'),
      sql<number>`extract(epoch from (now() AT TIME ZONE 'UTC')::time)::float8 / 86400`.as('dayOver'),
    ])
    .executeTakeFirstOrThrow();
  return { bytes: bytes ?? 0, dayOver };
}

/** Adds to what was read today; days of long ago are forgotten. */
export async function noteRead(db: Db, bytes: number): Promise<void> {
  await db
    .insertInto('integrity_days')
    .values({ day: today, bytes, blobs: 1 })
    .onConflict((conflict) =>
      conflict.column('day').doUpdateSet({
        bytes: sql<number>`integrity_days.bytes + ${bytes}::bigint`,
        blobs: sql<number>`integrity_days.blobs + 1`,
      }),
    )
    .execute();
}

/** Days that are remembered. */
const rememberedDays = 90;

export async function forgetDays(db: Db): Promise<void> {
  await db
    .deleteFrom('integrity_days')
    .where('day', '<', sql<Date>`(now() AT TIME ZONE 'UTC')::date - ${rememberedDays}::integer`)
    .execute();
}

const today = sql<Date>`(now() AT TIME ZONE 'UTC')::date`;

/** A variant as the integrity route shows it. */
export interface VariantIntegrity {
  readonly name: string;
  readonly status: string;
  readonly integrity: Integrity;
  readonly checkedAt: Date | null;
  readonly size: number | null;
  readonly sha256: Buffer | null;
}

/** What is known of the bytes of a file's variants, by name. */
export async function variantIntegrities(
  db: Db,
  projectId: string,
  fileId: string,
): Promise<readonly VariantIntegrity[]> {
  return db
    .selectFrom('variants')
    .select([
      'name',
      'status',
      sql<Integrity>`integrity`.as('integrity'),
      'integrity_checked_at as checkedAt',
      'size',
      'sha256',
    ])
    .where('project_id', '=', projectId)
    .where('file_id', '=', fileId)
    .orderBy('name')
    .execute();
}
