import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { Imports } from '../../../foundation/database/tables.js';
import type { Page } from '../../../foundation/http/pages.js';

/** A file that is fetched from a URL, or was. */
export type ImportRow = Selectable<Imports>;

/** States in which a job fetches it, or will. */
export const livingStates = ['waiting', 'running'] as const;

/** The import is not this attempt's any more: it was cancelled, or another attempt has taken it over. */
export class ImportLost extends Error {
  override readonly name = 'ImportLost';
}

export interface NewImport {
  readonly id: string;
  readonly projectId: string;
  readonly url: string;
  readonly shownUrl: string;
  readonly filename: string | null;
  readonly sha256: Buffer | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly createdBy: { readonly userId?: string; readonly keyId?: string };
  /** The client's `Idempotency-Key` and a digest of what it asked for under it. */
  readonly key: { readonly text: string; readonly digest: Buffer } | undefined;
}

/** @returns undefined when there is an import under the same key already. */
export async function insertImport(tx: Tx, entry: NewImport): Promise<ImportRow | undefined> {
  return tx
    .insertInto('imports')
    .values({
      id: entry.id,
      project_id: entry.projectId,
      url: entry.url,
      shown_url: entry.shownUrl,
      filename: entry.filename,
      sha256: entry.sha256,
      metadata: JSON.stringify(entry.metadata),
      idempotency_key: entry.key?.text ?? null,
      request_digest: entry.key?.digest ?? null,
      created_by_user: entry.createdBy.userId ?? null,
      created_by_key: entry.createdBy.keyId ?? null,
    })
    .onConflict((conflict) =>
      conflict
        .columns(['project_id', 'idempotency_key'])
        .where('idempotency_key', 'is not', null)
        .doNothing(),
    )
    .returningAll()
    .executeTakeFirst();
}

export async function findImportByKey(
  db: Db | Tx,
  projectId: string,
  key: string,
): Promise<ImportRow | undefined> {
  return db
    .selectFrom('imports')
    .selectAll()
    .where('project_id', '=', projectId)
    .where('idempotency_key', '=', key)
    .executeTakeFirst();
}

export async function findImport(
  db: Db | Tx,
  projectId: string,
  importId: string,
): Promise<ImportRow | undefined> {
  return db
    .selectFrom('imports')
    .selectAll()
    .where('id', '=', importId)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
}

/** Up to `limit + 1` imports of the project, newest first. */
export async function listImports(db: Db, projectId: string, page: Page): Promise<readonly ImportRow[]> {
  let query = db.selectFrom('imports').selectAll().where('project_id', '=', projectId);
  if (page.after !== undefined) query = query.where('id', '<', page.after);
  return query
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
}

/** Imports of the project that have not ended, counted up to `limit`. */
export async function countUnfinished(tx: Tx, projectId: string, limit: number): Promise<number> {
  const { count } = await tx
    .selectFrom(
      tx
        .selectFrom('imports')
        .select('id')
        .where('project_id', '=', projectId)
        .where('status', 'in', livingStates)
        .limit(limit)
        .as('unfinished'),
    )
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow();
  return count;
}

/** Names the attempt that may write to an import from now on. */
export interface Holding {
  readonly id: string;
  readonly projectId: string;
  readonly attempt: string;
}

/**
 * Begins an attempt.
 * @returns undefined when the import was cancelled or has ended.
 */
export async function holdImport(
  db: Db,
  { id, projectId, attempt }: Holding,
): Promise<ImportRow | undefined> {
  return db
    .updateTable('imports')
    .set({
      status: 'running',
      attempt,
      received_bytes: 0,
      total_bytes: null,
      updated_at: sql<Date>`now()`,
    })
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .where('status', 'in', livingStates)
    .returningAll()
    .executeTakeFirst();
}

/** Changes an import in the hands of an attempt; false when it is not in them any more. */
async function change(
  db: Db | Tx,
  { id, projectId, attempt }: Holding,
  values: Partial<
    Pick<
      ImportRow,
      'status' | 'url' | 'received_bytes' | 'total_bytes' | 'file_id' | 'failure_code' | 'failure'
    >
  >,
): Promise<boolean> {
  const changed = await db
    .updateTable('imports')
    .set({ ...values, updated_at: sql<Date>`now()` })
    .where('id', '=', id)
    .where('project_id', '=', projectId)
    .where('attempt', '=', attempt)
    .where('status', '=', 'running')
    .executeTakeFirst();
  return changed.numUpdatedRows === 1n;
}

/** @throws ImportLost */
export async function keepProgress(
  db: Db,
  holding: Holding,
  progress: { readonly received: number; readonly total: number | null },
): Promise<void> {
  const kept = await change(db, holding, {
    received_bytes: progress.received,
    total_bytes: progress.total,
  });
  if (!kept) throw new ImportLost('the import was cancelled or taken over');
}

/**
 * The import has become a file, which is acknowledged in the same transaction.
 * @throws ImportLost
 */
export async function completeImport(
  tx: Tx,
  holding: Holding,
  file: { readonly id: string; readonly size: number },
): Promise<void> {
  const completed = await change(tx, holding, {
    status: 'completed',
    url: null,
    file_id: file.id,
    received_bytes: file.size,
    total_bytes: file.size,
    failure_code: null,
    failure: null,
  });
  if (!completed) throw new ImportLost('the import was cancelled or taken over');
}

export interface ImportFailure {
  /** Code of a problem, and a sentence for the client. */
  readonly code: string;
  readonly detail: string;
}

/** Ends an import without a file. One that is not in the attempt's hands any more stays as it is. */
export async function failImport(tx: Tx, holding: Holding, { code, detail }: ImportFailure): Promise<void> {
  await change(tx, holding, { status: 'failed', url: null, failure_code: code, failure: detail });
}

/** Ends an attempt after which another one will come. */
export async function putBackImport(
  db: Db,
  holding: Holding,
  failure: ImportFailure | undefined,
): Promise<void> {
  await change(db, holding, {
    status: 'waiting',
    received_bytes: 0,
    total_bytes: null,
    ...(failure === undefined ? {} : { failure_code: failure.code, failure: failure.detail }),
  });
}

/** Nobody will try it again: its last failure counts, or this one when none was written down. */
export async function giveUpImport(
  tx: Tx,
  projectId: string,
  importId: string,
  { code, detail }: ImportFailure,
): Promise<void> {
  await tx
    .updateTable('imports')
    .set((eb) => ({
      status: 'failed',
      url: null,
      failure_code: eb.fn.coalesce('failure_code', sql<string>`${code}`),
      failure: eb.fn.coalesce('failure', sql<string>`${detail}`),
      updated_at: sql<Date>`now()`,
    }))
    .where('id', '=', importId)
    .where('project_id', '=', projectId)
    .where('status', 'in', livingStates)
    .execute();
}

/** Removes an import that has not ended. @returns false when there is none (any more). */
export async function removeImport(tx: Tx, projectId: string, importId: string): Promise<boolean> {
  const removed = await tx
    .deleteFrom('imports')
    .where('id', '=', importId)
    .where('project_id', '=', projectId)
    .where('status', 'in', livingStates)
    .executeTakeFirst();
  return removed.numDeletedRows === 1n;
}

/** Ends all imports of a project that is deleted; its jobs are cancelled by the caller. */
export async function failImportsOfProject(tx: Tx, projectId: string): Promise<void> {
  await tx
    .updateTable('imports')
    .set({
      status: 'failed',
      url: null,
      failure_code: 'not-found',
      failure: 'The project was deleted.',
      updated_at: sql<Date>`now()`,
    })
    .where('project_id', '=', projectId)
    .where('status', 'in', livingStates)
    .execute();
}
