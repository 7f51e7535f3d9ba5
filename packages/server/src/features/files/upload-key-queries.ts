import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { UploadLost } from './intake-queries.js';

/** An `Idempotency-Key` in the hands of one request. */
export interface HeldKey {
  readonly projectId: string;
  readonly key: string;
  /** Id of this request's attempt; nobody else completes or frees the key under it. */
  readonly attempt: string;
}

/** What an earlier request has brought under a key. */
export interface Brought {
  readonly digest: Buffer;
  /** In the order of the request. */
  readonly fileIds: readonly string[];
}

/**
 * Takes a key that is new, forgotten, or held by a request that has been silent for too long.
 * @returns `held`; `busy` when another request holds it; else what a completed one has brought.
 */
export async function claimKey(
  db: Db,
  { projectId, key, attempt }: HeldKey,
  { staleSeconds, lifetimeSeconds }: { readonly staleSeconds: number; readonly lifetimeSeconds: number },
): Promise<'held' | 'busy' | Brought> {
  const claimed = await db
    .insertInto('upload_keys')
    .values({ project_id: projectId, key, attempt })
    .onConflict((conflict) =>
      conflict
        .columns(['project_id', 'key'])
        .doUpdateSet({
          attempt,
          state: 'active',
          digest: null,
          file_ids: null,
          heartbeat_at: sql<Date>`now()`,
        })
        .where((eb) =>
          eb(
            'upload_keys.heartbeat_at',
            '<=',
            sql<Date>`now() - make_interval(secs => CASE upload_keys.state WHEN 'active' THEN ${staleSeconds}::float8 ELSE ${lifetimeSeconds}::float8 END)`,
          ),
        ),
    )
    .returning('attempt')
    .executeTakeFirst();
  if (claimed) return 'held';
  const found = await db
    .selectFrom('upload_keys')
    .select(['digest', 'file_ids'])
    .where('project_id', '=', projectId)
    .where('key', '=', key)
    .executeTakeFirst();
  // Freed in this very moment counts as busy too: the client is asked to come again.
  if (!found?.digest || !found.file_ids) return 'busy';
  return { digest: found.digest, fileIds: found.file_ids };
}

/**
 * Remembers what the request has brought, in the transaction that acknowledges it.
 * @throws `UploadLost` when another request has taken the key over.
 */
export async function completeKey(
  tx: Tx,
  { projectId, key, attempt }: HeldKey,
  { digest, fileIds }: Brought,
): Promise<void> {
  const done = await tx
    .updateTable('upload_keys')
    .set({ state: 'done', digest, file_ids: [...fileIds], heartbeat_at: sql<Date>`now()` })
    .where('project_id', '=', projectId)
    .where('key', '=', key)
    .where('attempt', '=', attempt)
    .where('state', '=', 'active')
    .executeTakeFirst();
  if (done.numUpdatedRows !== 1n) throw new UploadLost('another request has taken the idempotency key over');
}

/** Frees the key of a request that has failed; one that is completed stays. */
export async function releaseKey(tx: Tx, { projectId, key, attempt }: HeldKey): Promise<void> {
  await tx
    .deleteFrom('upload_keys')
    .where('project_id', '=', projectId)
    .where('key', '=', key)
    .where('attempt', '=', attempt)
    .where('state', '=', 'active')
    .execute();
}

/**
 * Tells that requests with these attempts are under way.
 * @returns those that still hold their keys.
 */
export async function renewKeys(db: Db, attempts: readonly string[]): Promise<ReadonlySet<string>> {
  if (attempts.length === 0) return new Set();
  const rows = await db
    .updateTable('upload_keys')
    .set({ heartbeat_at: sql<Date>`now()` })
    .where('attempt', 'in', (eb) =>
      // One order for everybody who locks several rows.
      eb
        .selectFrom('upload_keys')
        .select('attempt')
        .where('attempt', 'in', attempts)
        .where('state', '=', 'active')
        .orderBy('attempt')
        .forUpdate(),
    )
    .where('state', '=', 'active')
    .returning('attempt')
    .execute();
  return new Set(rows.map((row) => row.attempt));
}

/**
 * Forgets keys that were completed, or whose request fell silent, so many seconds ago.
 * @returns how many, at most `limit`.
 */
export async function forgetKeys(db: Db, lifetimeSeconds: number, limit: number): Promise<number> {
  const gone = await db
    .deleteFrom('upload_keys')
    .where((eb) =>
      eb(
        eb.refTuple('project_id', 'key'),
        'in',
        oldKeys(db, lifetimeSeconds).limit(limit).forUpdate().skipLocked().$asTuple('project_id', 'key'),
      ),
    )
    .executeTakeFirst();
  return Number(gone.numDeletedRows);
}

/** Keys that were completed, or whose request fell silent, so many seconds ago. */
export function oldKeys(db: Db, lifetimeSeconds: number) {
  return db
    .selectFrom('upload_keys as old')
    .select(['old.project_id', 'old.key'])
    .where('old.heartbeat_at', '<=', sql<Date>`now() - make_interval(secs => ${lifetimeSeconds}::float8)`);
}
