import { sql, type Selectable } from 'kysely';

import type { Tx } from '../../foundation/database/connect.js';
import type { Files } from '../../foundation/database/tables.js';
import type { ExifFacts } from '../../foundation/imaging/imaging.js';
import type { Recipe } from '../../foundation/imaging/recipe.js';
import type { Failure } from './failures.js';
import type { VariantRow } from './queries.js';

/** The file of a variant, with what its processing must know. */
export type VariantFile = Pick<
  Selectable<Files>,
  | 'id'
  | 'project_id'
  | 's3_key'
  | 'size'
  | 'sha256'
  | 'mime_type'
  | 'frames'
  | 'focal_x'
  | 'focal_y'
  | 'status'
  | 'deleted_at'
>;

/**
 * Locks a file's row against everybody who would settle, delete or purge it. Taken before the locks on its
 * variants, always: two attempts that finish at once then see each other's variants, and none waits in a circle.
 */
export async function lockFile(
  tx: Tx,
  projectId: string,
  fileId: string,
): Promise<(VariantFile & { readonly projectDeleted: boolean }) | undefined> {
  return tx
    .selectFrom('files')
    .innerJoin('projects', 'projects.id', 'files.project_id')
    .select([
      'files.id',
      'files.project_id',
      'files.s3_key',
      'files.size',
      'files.sha256',
      'files.mime_type',
      'files.frames',
      'files.focal_x',
      'files.focal_y',
      'files.status',
      'files.deleted_at',
      sql<boolean>`projects.deleted_at is not null`.as('projectDeleted'),
    ])
    .where('files.id', '=', fileId)
    .where('files.project_id', '=', projectId)
    .forUpdate('files')
    .executeTakeFirst();
}

/** A locked row with its age, by the database's clock. */
export type LockedVariant = VariantRow & { readonly silentSeconds: number };

const silentSeconds = sql<number>`extract(epoch from now() - updated_at)::float8`;

/** Locks all variants of a file, in one order for everybody. */
export async function lockVariants(
  tx: Tx,
  projectId: string,
  fileId: string,
): Promise<readonly LockedVariant[]> {
  return tx
    .selectFrom('variants')
    .selectAll()
    .select(silentSeconds.as('silentSeconds'))
    .where('project_id', '=', projectId)
    .where('file_id', '=', fileId)
    .orderBy('name')
    .forUpdate()
    .execute();
}

/** Locks one variant of a file. */
export async function lockVariant(
  tx: Tx,
  projectId: string,
  fileId: string,
  name: string,
): Promise<LockedVariant | undefined> {
  return tx
    .selectFrom('variants')
    .selectAll()
    .select(silentSeconds.as('silentSeconds'))
    .where('project_id', '=', projectId)
    .where('file_id', '=', fileId)
    .where('name', '=', name)
    .forUpdate()
    .executeTakeFirst();
}

/**
 * Hands a key to an attempt: the next generation, committed before the first byte is written. What is ready
 * stays ready and served meanwhile.
 */
export async function beginAttempt(
  tx: Tx,
  row: VariantRow,
  attempt: { readonly generation: number; readonly key: string },
): Promise<void> {
  await tx
    .updateTable('variants')
    .set({
      status: row.status === 'ready' ? 'ready' : 'rendering',
      generation: attempt.generation,
      pending_key: attempt.key,
      updated_at: sql<Date>`now()`,
    })
    .where('file_id', '=', row.file_id)
    .where('project_id', '=', row.project_id)
    .where('name', '=', row.name)
    .execute();
}

export interface MadeVariant {
  readonly key: string;
  readonly recipe: Recipe;
  readonly digest: string;
  readonly mimeType: string;
  readonly width: number;
  readonly height: number;
  readonly size: number;
  readonly sha256: Buffer;
}

/** The attempt's key becomes the one that counts. */
export async function finishAttempt(tx: Tx, row: VariantRow, made: MadeVariant): Promise<void> {
  await tx
    .updateTable('variants')
    .set({
      status: 'ready',
      failure_code: null,
      failure: null,
      recipe: JSON.stringify(made.recipe),
      recipe_digest: made.digest,
      refused_digest: null,
      s3_key: made.key,
      pending_key: null,
      mime_type: made.mimeType,
      width: made.width,
      height: made.height,
      size: made.size,
      sha256: made.sha256,
      updated_at: sql<Date>`now()`,
    })
    .where('file_id', '=', row.file_id)
    .where('project_id', '=', row.project_id)
    .where('name', '=', row.name)
    .execute();
}

/** Ends an attempt without a result; the variant waits for the next one, with the reason of the last beside it. */
export function abandonAttempt(tx: Tx, row: VariantRow, reason: Failure): Promise<void> {
  return endWithoutResult(tx, row, 'pending', reason, row.refused_digest);
}

/** Gives a variant up for good. */
export function failVariant(tx: Tx, row: VariantRow, reason: Failure): Promise<void> {
  return endWithoutResult(tx, row, 'failed', reason, row.wanted_digest);
}

/** A variant that is ready stays so: only its renewal has failed, and is not tried for every request that sees it. */
async function endWithoutResult(
  tx: Tx,
  row: VariantRow,
  status: 'pending' | 'failed',
  reason: Failure,
  refused: string | null,
): Promise<void> {
  await tx
    .updateTable('variants')
    .set({
      refused_digest: refused,
      status: row.status === 'ready' ? 'ready' : status,
      pending_key: null,
      failure_code: reason.code,
      failure: reason.detail,
      updated_at: sql<Date>`now()`,
    })
    .where('file_id', '=', row.file_id)
    .where('project_id', '=', row.project_id)
    .where('name', '=', row.name)
    .execute();
}

/** What the decode told of a file. */
export interface FileFacts {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly hasAlpha: boolean;
  readonly thumbhash: Buffer;
  readonly dominantColor: string;
  readonly exif: ExifFacts | null;
}

/** Sets a file's state after processing, and what was learnt of it. */
export async function settleFile(
  tx: Tx,
  file: { readonly id: string; readonly project_id: string },
  state: { readonly status: string; readonly failure: string | null },
  facts?: FileFacts,
): Promise<void> {
  await tx
    .updateTable('files')
    .set({
      status: state.status,
      failure: state.failure,
      ...(facts
        ? {
            width: facts.width,
            height: facts.height,
            frames: facts.frames,
            has_alpha: facts.hasAlpha,
            thumbhash: facts.thumbhash,
            dominant_color: facts.dominantColor,
            exif: facts.exif === null ? null : JSON.stringify(facts.exif),
          }
        : {}),
      version: sql<number>`version + 1`,
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', file.id)
    .where('project_id', '=', file.project_id)
    .execute();
}

/** Counts bytes of variants; they are never refused, so they may pass the quota (`delta` may be negative). */
export async function countVariantBytes(tx: Tx, projectId: string, delta: number): Promise<void> {
  if (delta === 0) return;
  await tx
    .updateTable('project_usage')
    .set({ variant_bytes: sql<number>`variant_bytes + ${delta}` })
    .where('project_id', '=', projectId)
    .execute();
}
