import { sql, type Selectable } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';
import type { ApiKeys } from '../../foundation/database/tables.js';
import type { Page } from '../../foundation/http/pages.js';
import { scopes, type Scope } from '../access/permissions.js';

/** A key as its project's owner sees it. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly prefix: string;
  readonly scopes: readonly Scope[];
  readonly createdBy: string | null;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | null;
  readonly expiresAt: Date | null;
}

/** What a key proves. */
export interface LivingKey {
  readonly keyId: string;
  readonly projectId: string;
  readonly scopes: readonly Scope[];
}

const columns = [
  'id',
  'name',
  'prefix',
  'scopes',
  'created_by',
  'created_at',
  'last_used_at',
  'expires_at',
] as const;

function keyOf(row: Pick<Selectable<ApiKeys>, (typeof columns)[number]>): ApiKey {
  return {
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    scopes: knownScopes(row.scopes),
    createdBy: row.created_by,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
  };
}

/** A scope that a newer version stored means nothing to this one. */
function knownScopes(stored: readonly string[]): readonly Scope[] {
  return scopes.filter((scope) => stored.includes(scope));
}

export async function insertKey(
  db: Db,
  projectId: string,
  key: {
    readonly id: string;
    readonly name: string;
    readonly prefix: string;
    readonly hash: Buffer;
    readonly scopes: readonly Scope[];
    readonly createdBy: string;
    readonly expiresAt: Date | null;
  },
): Promise<ApiKey> {
  const row = await db
    .insertInto('api_keys')
    .values({
      id: key.id,
      project_id: projectId,
      name: key.name,
      prefix: key.prefix,
      hash: key.hash,
      scopes: [...key.scopes],
      created_by: key.createdBy,
      expires_at: key.expiresAt,
    })
    .returning(columns)
    .executeTakeFirstOrThrow();
  return keyOf(row);
}

/** The project's keys that are not revoked, newest first: up to `limit + 1`. Expired ones are among them. */
export async function listKeys(db: Db, projectId: string, page: Page): Promise<ApiKey[]> {
  const rows = await db
    .selectFrom('api_keys')
    .select(columns)
    .where('project_id', '=', projectId)
    .where('revoked_at', 'is', null)
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows.map(keyOf);
}

/**
 * Revokes a key of the project.
 *
 * @returns its hash; undefined when the project has no such key, or none that works.
 */
export async function revokeKey(db: Db, projectId: string, keyId: string): Promise<Buffer | undefined> {
  const row = await db
    .updateTable('api_keys')
    .set({ revoked_at: sql<Date>`now()` })
    .where('project_id', '=', projectId)
    .where('id', '=', keyId)
    .where('revoked_at', 'is', null)
    .returning('hash')
    .executeTakeFirst();
  return row?.hash;
}

/** The key with this hash, unless it is revoked or has expired. The one look-up that has no project yet. */
export async function findLivingKey(db: Db, hash: Buffer): Promise<LivingKey | undefined> {
  const row = await db
    .selectFrom('api_keys')
    .select(['id', 'project_id', 'scopes'])
    .where('hash', '=', hash)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', sql<Date>`now()`)]))
    .executeTakeFirst();
  return row && { keyId: row.id, projectId: row.project_id, scopes: knownScopes(row.scopes) };
}

/** Notes that the key was used, at most once a minute however many processes do. */
export async function touchKey(db: Db, projectId: string, keyId: string): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ last_used_at: sql<Date>`now()` })
    .where('project_id', '=', projectId)
    .where('id', '=', keyId)
    .where((eb) =>
      eb.or([
        eb('last_used_at', 'is', null),
        eb('last_used_at', '<', sql<Date>`now() - interval '1 minute'`),
      ]),
    )
    .execute();
}
