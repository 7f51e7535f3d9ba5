import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Files } from '../../foundation/database/tables.js';
import type { Page } from '../../foundation/http/pages.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import { recordEvents } from '../events/queries.js';
import { purgeBlobs } from './purge-job.js';
import { bookUsage } from './usage-queries.js';

/** A row of the ledger. */
export type FileRow = Selectable<Files>;

/** States of files that exist for others: their bytes are acknowledged. */
export const visibleStates = ['processing', 'ready', 'failed'] as const;
export type VisibleState = (typeof visibleStates)[number];

/** A file that is acknowledged and not in the trash. */
export async function findFile(db: Db | Tx, projectId: string, fileId: string): Promise<FileRow | undefined> {
  return db
    .selectFrom('files')
    .selectAll()
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .where('deleted_at', 'is', null)
    .where('status', 'in', visibleStates)
    .executeTakeFirst();
}

export interface FileFilters {
  readonly status?: VisibleState | undefined;
  /** A media type, or all of a kind: `image/*`. */
  readonly type?: string | undefined;
  /** Part of the name; case does not matter. */
  readonly name?: string | undefined;
  /** Where in the name; anywhere when absent. */
  readonly search?: NameSearch | undefined;
  /** What is in the trash instead of what is not. */
  readonly trashed?: boolean | undefined;
}

/** Up to `limit + 1` files of the project, newest first. */
export async function listFiles(
  db: Db,
  projectId: string,
  page: Page,
  filters: FileFilters,
): Promise<readonly FileRow[]> {
  let matching = filesMatching(db, projectId, filters);
  if (page.after !== undefined) matching = matching.where('id', '<', page.after);
  if (await isRare(matching, filters)) {
    // All hits first, by the index of names; walking the pages for them could mean reading every row.
    return db
      .with(
        (cte) => cte('hits').materialized(),
        () => matching.select('id'),
      )
      .selectFrom('files')
      .selectAll()
      .where('id', 'in', (eb) =>
        eb
          .selectFrom('hits')
          .select('id')
          .orderBy('id', 'desc')
          .limit(page.limit + 1),
      )
      .orderBy('id', 'desc')
      .execute();
  }
  return matching
    .selectAll()
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
}

/** Fewer hits than this are read whole and sorted: 10,000 of a million take some 20 ms. */
const rareHits = 10_000;
/** Names shorter than a trigram are in no index. */
const shortestTrigram = 3;

/**
 * Whether a search by name is expected to find little. PostgreSQL takes hits for evenly spread, and so would walk a
 * million pages for some thousand hits that are all old: 1.4 s, measured.
 */
async function isRare(
  matching: ReturnType<typeof filesMatching>,
  { name, search }: FileFilters,
): Promise<boolean> {
  if (name === undefined || name.length < shortestTrigram || search === 'prefix') return false;
  const [plan] = await matching.select('id').explain('json');
  return expectedRows(plan) < rareHits;
}

/** What the planner expects, by EXPLAIN (FORMAT JSON). */
function expectedRows(plan: unknown): number {
  const [top] = (
    plan as Readonly<Record<'QUERY PLAN', readonly { readonly Plan: Readonly<Record<string, unknown>> }[]>>
  )['QUERY PLAN'];
  return Number(top?.Plan['Plan Rows']);
}

/** Acknowledged files of a project that fit the filters, in no order yet. */
export function filesMatching(db: Db, projectId: string, filters: FileFilters) {
  let query = db
    .selectFrom('files')
    .where('project_id', '=', projectId)
    .where('deleted_at', filters.trashed === true ? 'is not' : 'is', null);
  query =
    filters.status === undefined
      ? query.where('status', 'in', visibleStates)
      : query.where('status', '=', filters.status);
  if (filters.type?.endsWith('/*')) {
    query = query.where('mime_type', 'like', `${escapePattern(filters.type.slice(0, -1))}%`);
  } else if (filters.type !== undefined) {
    query = query.where('mime_type', '=', filters.type);
  }
  if (filters.name === undefined) return query;
  const pattern = escapePattern(filters.name);
  return filters.search === 'prefix'
    ? query.where(sql<boolean>`lower(filename) LIKE lower(${pattern}) || '%'`)
    : query.where('filename', 'ilike', `%${pattern}%`);
}

/** How names can be searched: anywhere in them, or by their beginning where the database has no trigrams. */
export type NameSearch = 'substring' | 'prefix';

/** What the indexes of this database answer quickly. */
export async function nameSearchOf(db: Db): Promise<NameSearch> {
  const { rows } = await sql<{ found: boolean }>`
    SELECT to_regclass('files_name_search') IS NOT NULL AS found`.execute(db);
  return rows[0]?.found === true ? 'substring' : 'prefix';
}

/** Makes text stand for itself in LIKE. */
function escapePattern(text: string): string {
  return text.replace(/[\\%_]/g, '\\$&');
}

export interface FileChange {
  readonly filename?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Null: as the project says. */
  readonly visibility?: 'public' | 'private' | null;
  /** Parts of width and height, 0 to 1 from the top left; null: none. */
  readonly focalPoint?: { readonly x: number; readonly y: number } | null;
}

/**
 * Changes what people may change of a file.
 * @param version refuses the change unless the row still has it; undefined takes any.
 * @returns the changed row, or undefined when there is none (any more).
 */
export async function changeFile(
  db: Db | Tx,
  projectId: string,
  fileId: string,
  change: FileChange,
  version: number | undefined,
): Promise<FileRow | undefined> {
  let query = db
    .updateTable('files')
    .set({
      ...(change.filename === undefined ? {} : { filename: change.filename }),
      ...(change.metadata === undefined ? {} : { metadata: JSON.stringify(change.metadata) }),
      ...(change.visibility === undefined
        ? {}
        : {
            visibility: change.visibility,
            // The versioned links of before go stale: what was kept under them was for other eyes.
            generation: sql<number>`generation + CASE WHEN visibility IS DISTINCT FROM ${change.visibility} THEN 1 ELSE 0 END`,
          }),
      ...(change.focalPoint === undefined
        ? {}
        : { focal_x: change.focalPoint?.x ?? null, focal_y: change.focalPoint?.y ?? null }),
      version: sql<number>`version + 1`,
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .where('deleted_at', 'is', null)
    .where('status', 'in', visibleStates);
  if (version !== undefined) query = query.where('version', '=', version);
  return query.returningAll().executeTakeFirst();
}

/**
 * Puts files into the trash: hidden at once, counted until they are purged. Their versioned links go stale.
 * @returns the ids of those that were there.
 */
export async function trashFiles(
  tx: Tx,
  projectId: string,
  fileIds: readonly string[],
): Promise<readonly string[]> {
  const locked = await lockVisible(tx, projectId, fileIds).where('deleted_at', 'is', null).execute();
  if (locked.length === 0) return [];
  const ids = locked.map(({ id }) => id);
  await tx
    .updateTable('files')
    .set({
      deleted_at: sql<Date>`now()`,
      generation: sql<number>`generation + 1`,
      version: sql<number>`version + 1`,
      updated_at: sql<Date>`now()`,
    })
    .where('id', 'in', ids)
    .where('project_id', '=', projectId)
    .execute();
  await recordEvents(
    tx,
    ids.map((subjectId) => ({ projectId, type: 'file.trashed', subjectId })),
  );
  await bookUsage(tx, projectId, { trashBytes: bytesOf(locked) });
  return ids;
}

/**
 * Takes a file out of the trash, as it was.
 * @returns undefined when it is not in the trash (any more).
 */
export async function restoreFile(tx: Tx, projectId: string, fileId: string): Promise<FileRow | undefined> {
  const locked = await lockVisible(tx, projectId, [fileId]).where('deleted_at', 'is not', null).execute();
  if (locked.length === 0) return undefined;
  const restored = await tx
    .updateTable('files')
    .set({ deleted_at: null, version: sql<number>`version + 1`, updated_at: sql<Date>`now()` })
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .returningAll()
    .executeTakeFirstOrThrow();
  await recordEvents(tx, [{ projectId, type: 'file.restored', subjectId: fileId }]);
  await bookUsage(tx, projectId, { trashBytes: -bytesOf(locked) });
  return restored;
}

/** Acknowledged files, locked in one order for everybody who locks several. */
export function lockVisible(tx: Tx, projectId: string, fileIds: readonly string[]) {
  return tx
    .selectFrom('files')
    .select(['id', 's3_key', 'size', 'deleted_at'])
    .where('id', 'in', fileIds.length > 0 ? fileIds : [projectId])
    .where('project_id', '=', projectId)
    .where('status', 'in', visibleStates)
    .orderBy('id')
    .forUpdate();
}

function bytesOf(files: readonly { readonly size: number | null }[]): number {
  return files.reduce((sum, { size }) => sum + (size ?? 0), 0);
}

/** A key whose blob has become worthless. */
export interface Burial {
  readonly key: string;
  readonly projectId: string;
  /** For people who look into the queue: `upload failed`. */
  readonly reason: string;
  /** Seconds within which somebody may still be writing the key: its blob is deleted now and once more after them. */
  readonly againAfter?: number;
}

/**
 * Queues keys for deletion, in the transaction that makes them worthless, and the job that deletes them. A key
 * that is buried already keeps its place, and the later of the two second times.
 */
export async function bury(tx: Tx, burials: readonly Burial[]): Promise<void> {
  if (burials.length === 0) return;
  await tx
    .insertInto('tombstones')
    .values(
      burials.map(({ key, projectId, reason, againAfter }) => ({
        key,
        project_id: projectId,
        reason,
        again_after:
          againAfter === undefined ? null : sql<Date>`now() + make_interval(secs => ${againAfter}::float8)`,
      })),
    )
    .onConflict((conflict) =>
      conflict.column('key').doUpdateSet((eb) => ({
        again_after: sql<Date>`greatest(tombstones.again_after, ${eb.ref('excluded.again_after')})`,
      })),
    )
    .execute();
  await enqueue(tx, purgeBlobs, {}, { dedupeKey: purgeBlobs.name });
}
