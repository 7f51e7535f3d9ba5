import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';

/** Limits of what a project may hold; null is no limit. */
export interface Quota {
  readonly bytes: number | null;
  readonly files: number | null;
}

/** What a project holds; bytes count originals (trash included), ready variants and uploads under way. */
export interface Usage {
  readonly bytes: number;
  readonly files: number;
}

export interface Claim {
  /** Bytes without which the upload cannot go on. */
  readonly need: number;
  /** Bytes it would rather hold; at least `need`. Granted as far as there is room. */
  readonly want: number;
  /** Files to count: 1 for a new upload, 0 for one that grows. */
  readonly files: 0 | 1;
}

/**
 * Reserves room for an upload: one conditional UPDATE, so that any number of uploads at once never pass the quota.
 * @returns the bytes granted, between `need` and `want`.
 * @throws Problem `quota-exceeded` with the limit that would be passed.
 */
export async function reserve(tx: Tx, projectId: string, claim: Claim, quota: Quota): Promise<number> {
  const { rows } = await sql<{ granted: number }>`
    UPDATE project_usage AS usage
    SET reserved_bytes = usage.reserved_bytes + room.granted,
        reserved_files = usage.reserved_files + ${claim.files}::int
    FROM (
      SELECT project_id,
        CASE WHEN ${quota.bytes}::bigint IS NULL THEN ${claim.want}::bigint
          ELSE least(${claim.want}::bigint, ${quota.bytes}::bigint - original_bytes - variant_bytes - reserved_bytes)
        END AS granted,
        ${quota.files}::bigint IS NULL
          OR ${claim.files}::int = 0
          OR file_count + reserved_files + ${claim.files}::int <= ${quota.files}::bigint AS fits
      FROM project_usage WHERE project_id = ${projectId}::uuid
      FOR UPDATE
    ) AS room
    WHERE usage.project_id = room.project_id AND room.fits AND room.granted >= ${claim.need}::bigint
    RETURNING room.granted`.execute(tx);
  const granted = rows[0]?.granted;
  if (granted === undefined) throw refusal(await usageOf(tx, projectId), claim, quota);
  return granted;
}

/** What the project holds now; undefined for a project that does not exist. */
export async function usageOf(db: Db | Tx, projectId: string): Promise<Usage | undefined> {
  return db
    .selectFrom('project_usage')
    .select([
      sql<number>`original_bytes + variant_bytes + reserved_bytes`.as('bytes'),
      sql<number>`file_count + reserved_files`.as('files'),
    ])
    .where('project_id', '=', projectId)
    .executeTakeFirst();
}

function refusal(usage: Usage | undefined, claim: Claim, quota: Quota): Problem {
  if (!usage) return new Problem('not-found');
  const files = usage.files + claim.files;
  if (quota.files !== null && claim.files > 0 && files > quota.files) {
    return new Problem('quota-exceeded', {
      detail: `The project may hold ${quota.files} files.`,
      limit: quota.files,
      actual: files,
    });
  }
  return new Problem('quota-exceeded', {
    detail: `The project may hold ${quota.bytes ?? 0} bytes.`,
    limit: quota.bytes ?? 0,
    actual: usage.bytes + claim.need,
  });
}

/** Changes of the counter; all may be negative. Reservations turn into what is held, or come back. */
export interface UsageChange {
  readonly originalBytes?: number;
  readonly reservedBytes?: number;
  readonly files?: number;
  readonly reservedFiles?: number;
  readonly trashBytes?: number;
  readonly variantBytes?: number;
}

/** Books a change. Last in its transaction: the row is the busiest of a project. */
export async function bookUsage(tx: Tx, projectId: string, change: UsageChange): Promise<void> {
  await tx
    .updateTable('project_usage')
    .set({
      original_bytes: sql<number>`original_bytes + ${change.originalBytes ?? 0}`,
      reserved_bytes: sql<number>`reserved_bytes + ${change.reservedBytes ?? 0}`,
      file_count: sql<number>`file_count + ${change.files ?? 0}`,
      reserved_files: sql<number>`reserved_files + ${change.reservedFiles ?? 0}`,
      ...(change.trashBytes === undefined
        ? {}
        : { trash_bytes: sql<number>`trash_bytes + ${change.trashBytes}` }),
      ...(change.variantBytes === undefined
        ? {}
        : { variant_bytes: sql<number>`variant_bytes + ${change.variantBytes}` }),
    })
    .where('project_id', '=', projectId)
    .execute();
}
