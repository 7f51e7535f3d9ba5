import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Files, Variants } from '../../foundation/database/tables.js';
import type { Recipe } from '../../foundation/imaging/recipe.js';
import type { Failure } from './failures.js';
import type { PlannedVariant } from './wanted.js';

export type VariantRow = Selectable<Variants>;

/** All variants of the files, ordered by name. */
export async function variantsOf(
  db: Db | Tx,
  projectId: string,
  fileIds: readonly string[],
): Promise<readonly VariantRow[]> {
  if (fileIds.length === 0) return [];
  return db
    .selectFrom('variants')
    .selectAll()
    .where('project_id', '=', projectId)
    .where('file_id', 'in', fileIds)
    .orderBy('name')
    .execute();
}

/**
 * Writes the rows of planned variants, `pending`, or `failed` with the reason. A row that stands already is
 * taken over unless it is ready or being rendered: a plan never takes anything away.
 */
export async function planRows(
  tx: Tx,
  file: { readonly id: string; readonly project_id: string },
  planned: readonly PlannedVariant[],
  failed?: Failure,
): Promise<void> {
  if (planned.length === 0) return;
  await tx
    .insertInto('variants')
    .values(
      planned.map(({ name, recipe, digest, lazy }) => ({
        file_id: file.id,
        project_id: file.project_id,
        name,
        status: failed ? 'failed' : 'pending',
        failure_code: failed?.code ?? null,
        failure: failed?.detail ?? null,
        recipe: JSON.stringify(recipe),
        recipe_digest: digest,
        wanted_digest: digest,
        lazy,
        generation: collectedGeneration(file.id),
      })),
    )
    .onConflict((conflict) =>
      conflict
        .columns(['file_id', 'name'])
        .doUpdateSet((eb) => ({
          status: eb.ref('excluded.status'),
          failure_code: eb.ref('excluded.failure_code'),
          failure: eb.ref('excluded.failure'),
          recipe: eb.ref('excluded.recipe'),
          recipe_digest: eb.ref('excluded.recipe_digest'),
          wanted_digest: eb.ref('excluded.wanted_digest'),
          lazy: eb.ref('excluded.lazy'),
          updated_at: sql<Date>`now()`,
        }))
        .where('variants.status', 'in', ['pending', 'failed'])
        .where('variants.pending_key', 'is', null),
    )
    .execute();
}

/**
 * Writes a row for a picture that the file lacks; made on request, so it is lazy.
 * @param file locked, so that nobody is just collecting an earlier row of that name.
 * @param expiresSeconds after which it goes unless it is asked for again; never when absent.
 */
export async function addLazyRow(
  tx: Tx,
  file: { readonly id: string; readonly project_id: string },
  { name, recipe, digest }: PlannedVariant,
  expiresSeconds?: number,
): Promise<void> {
  await tx
    .insertInto('variants')
    .values({
      file_id: file.id,
      project_id: file.project_id,
      name,
      status: 'pending',
      recipe: JSON.stringify(recipe),
      recipe_digest: digest,
      wanted_digest: digest,
      lazy: true,
      generation: collectedGeneration(file.id),
      expires_at: expiresSeconds === undefined ? null : inSeconds(expiresSeconds),
    })
    .onConflict((conflict) => conflict.columns(['file_id', 'name']).doNothing())
    .execute();
}

/** Where the generations of a new row begin: behind those of rows that are gone. */
function collectedGeneration(fileId: string) {
  return sql<number>`(SELECT collected_generation FROM files WHERE id = ${fileId})`;
}

function inSeconds(seconds: number) {
  return sql<Date>`now() + make_interval(secs => ${seconds}::float8)`;
}

/** Says that a variant whose bytes are served shall have another recipe: jobs for other ones are overtaken. */
export async function wantRecipe(tx: Tx, row: VariantRow, digest: string): Promise<void> {
  await tx
    .updateTable('variants')
    .set({ wanted_digest: digest, refused_digest: null })
    .where('file_id', '=', row.file_id)
    .where('project_id', '=', row.project_id)
    .where('name', '=', row.name)
    .execute();
}

/** What a row says that is to be made anew by the recipe it was made by. */
const anew = 'anew';

/** The same for bytes that were made by that very recipe. */
export async function wantAnew(tx: Tx, row: VariantRow, digest: string): Promise<void> {
  await tx
    .updateTable('variants')
    .set({ recipe_digest: anew, wanted_digest: digest, refused_digest: null })
    .where('file_id', '=', row.file_id)
    .where('project_id', '=', row.project_id)
    .where('name', '=', row.name)
    .execute();
}

/** Puts the end of a transformation off, since it was asked for. */
export async function renew(
  db: Db,
  file: { readonly id: string; readonly project_id: string },
  name: string,
  expiresSeconds: number,
): Promise<void> {
  await db
    .updateTable('variants')
    .set({ expires_at: inSeconds(expiresSeconds) })
    .where('file_id', '=', file.id)
    .where('project_id', '=', file.project_id)
    .where('name', '=', name)
    .where('expires_at', 'is not', null)
    .execute();
}

/** The originals of living files of the project. */
export async function findOriginals(
  db: Db,
  projectId: string,
  fileIds: readonly string[],
): Promise<readonly Pick<Selectable<Files>, 'id' | 's3_key' | 'size' | 'sha256' | 'mime_type'>[]> {
  if (fileIds.length === 0) return [];
  return db
    .selectFrom('files')
    .select(['id', 's3_key', 'size', 'sha256', 'mime_type'])
    .where('id', 'in', fileIds)
    .where('project_id', '=', projectId)
    .where('deleted_at', 'is', null)
    .where('status', 'in', ['processing', 'ready', 'failed'])
    .execute();
}

/** What a waiting request must know of the variants it waits for. */
export interface VariantState {
  readonly file_id: string;
  readonly name: string;
  readonly status: string;
}

/** The states of any number of variants in one query, whichever projects they belong to: waiters look at ids they were let to. */
export async function statesOf(
  db: Db,
  wanted: readonly { readonly fileId: string; readonly name: string }[],
): Promise<readonly VariantState[]> {
  if (wanted.length === 0) return [];
  return db
    .selectFrom('variants')
    .select(['file_id', 'name', 'status'])
    .where((eb) =>
      eb(
        eb.refTuple('file_id', 'name'),
        'in',
        wanted.map(({ fileId, name }) => eb.tuple(fileId, name)),
      ),
    )
    .execute();
}

/** A file with variants that nobody has touched for long. */
export interface StuckFile {
  readonly fileId: string;
  readonly projectId: string;
  readonly variants: readonly { readonly name: string; readonly recipe: Recipe }[];
}

/**
 * Living files with variants in an intermediate state that has not moved for `silentSeconds`; at most `limit`.
 * Lazy ones that nobody has asked for are in no such state.
 */
export async function findStuck(db: Db, silentSeconds: number, limit: number): Promise<readonly StuckFile[]> {
  return db
    .selectFrom('variants')
    .innerJoin('files', 'files.id', 'variants.file_id')
    .innerJoin('projects', 'projects.id', 'files.project_id')
    .select([
      'variants.file_id as fileId',
      'variants.project_id as projectId',
      sql<
        StuckFile['variants']
      >`json_agg(json_build_object('name', variants.name, 'recipe', variants.recipe))`.as('variants'),
    ])
    .where('variants.status', 'in', ['pending', 'rendering'])
    .where((eb) => eb.or([eb('variants.status', '=', 'rendering'), eb('variants.lazy', '=', false)]))
    .where('variants.updated_at', '<', sql<Date>`now() - make_interval(secs => ${silentSeconds})`)
    .where('files.deleted_at', 'is', null)
    .where('files.status', 'in', ['processing', 'ready', 'failed'])
    .where('projects.deleted_at', 'is', null)
    .groupBy(['variants.file_id', 'variants.project_id'])
    .orderBy('variants.file_id')
    .limit(limit)
    .execute();
}
