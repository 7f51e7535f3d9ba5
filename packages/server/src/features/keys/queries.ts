import { sql, type Selectable } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';
import type { ApiKeys } from '../../foundation/database/tables.js';
import type { Page } from '../../foundation/http/pages.js';
import { scopes, type Scope } from '../access/permissions.js';

/** What a key is bound to beside its scopes. Null: no limit; anything, anywhere. */
export interface KeyRules {
  /** Pages that may use it; a request without an Origin then may not. */
  readonly allowedOrigins: readonly string[] | null;
  /** Addresses and networks that may use it. */
  readonly allowedAddresses: readonly string[] | null;
  /** Largest file in bytes. */
  readonly maxFileBytes: number | null;
  /** Most files of it that are held at the same time, uploads under way included. */
  readonly maxFiles: number | null;
  /** Media types that it may bring, as in a project's settings. */
  readonly allowedTypes: readonly string[] | null;
}

/** A key as its project's owner sees it. */
export interface ApiKey extends KeyRules {
  readonly id: string;
  readonly name: string;
  readonly prefix: string;
  readonly scopes: readonly Scope[];
  readonly enabled: boolean;
  readonly createdBy: string | null;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | null;
  readonly lastUsedAddress: string | null;
  readonly expiresAt: Date | null;
  /** Until when the key of before the last rotation works. */
  readonly previousUntil: Date | null;
}

/** What a key proves, and where it does. */
export interface LivingKey extends Pick<KeyRules, 'allowedOrigins' | 'allowedAddresses'> {
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
  'last_used_address',
  'expires_at',
  'disabled_at',
  'previous_until',
  'allowed_origins',
  'allowed_addresses',
  'max_file_bytes',
  'max_files',
  'allowed_types',
] as const;

function keyOf(row: Pick<Selectable<ApiKeys>, (typeof columns)[number]>): ApiKey {
  return {
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    scopes: knownScopes(row.scopes),
    enabled: row.disabled_at === null,
    createdBy: row.created_by,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    lastUsedAddress: row.last_used_address,
    expiresAt: row.expires_at,
    previousUntil: row.previous_until,
    allowedOrigins: row.allowed_origins,
    allowedAddresses: row.allowed_addresses,
    maxFileBytes: row.max_file_bytes,
    maxFiles: row.max_files,
    allowedTypes: row.allowed_types,
  };
}

/** A scope that a newer version stored means nothing to this one. */
function knownScopes(stored: readonly string[]): readonly Scope[] {
  return scopes.filter((scope) => stored.includes(scope));
}

const copy = (list: readonly string[] | null) => list && [...list];

export async function insertKey(
  db: Db,
  projectId: string,
  key: KeyRules & {
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
      allowed_origins: copy(key.allowedOrigins),
      allowed_addresses: copy(key.allowedAddresses),
      max_file_bytes: key.maxFileBytes,
      max_files: key.maxFiles,
      allowed_types: copy(key.allowedTypes),
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

/** What can be changed of a key; members that are absent stay as they are. */
export type KeyChange = Partial<
  KeyRules & {
    readonly name: string;
    readonly scopes: readonly Scope[];
    readonly enabled: boolean;
    readonly expiresAt: Date | null;
  }
>;

/** @returns the key as it is now; undefined when the project has no such key, or it is revoked. */
export async function updateKey(
  db: Db,
  projectId: string,
  keyId: string,
  change: KeyChange,
): Promise<ApiKey | undefined> {
  const row = await db
    .updateTable('api_keys')
    .set({
      // Also for a change of nothing: an update without columns is no SQL.
      project_id: projectId,
      ...(change.name === undefined ? {} : { name: change.name }),
      ...(change.scopes === undefined ? {} : { scopes: [...change.scopes] }),
      ...(change.enabled === undefined ? {} : { disabled_at: change.enabled ? null : sql<Date>`now()` }),
      ...(change.expiresAt === undefined ? {} : { expires_at: change.expiresAt }),
      ...(change.allowedOrigins === undefined ? {} : { allowed_origins: copy(change.allowedOrigins) }),
      ...(change.allowedAddresses === undefined ? {} : { allowed_addresses: copy(change.allowedAddresses) }),
      ...(change.maxFileBytes === undefined ? {} : { max_file_bytes: change.maxFileBytes }),
      ...(change.maxFiles === undefined ? {} : { max_files: change.maxFiles }),
      ...(change.allowedTypes === undefined ? {} : { allowed_types: copy(change.allowedTypes) }),
    })
    .where('project_id', '=', projectId)
    .where('id', '=', keyId)
    .where('revoked_at', 'is', null)
    .returning(columns)
    .executeTakeFirst();
  return row && keyOf(row);
}

/**
 * Puts a new key in the place of the present one, which works for the overlap still; one that was in an overlap
 * before ends now.
 * @returns undefined when the project has no such key, or it is revoked.
 */
export async function rotateKey(
  db: Db,
  projectId: string,
  keyId: string,
  next: { readonly hash: Buffer; readonly prefix: string; readonly overlapSeconds: number },
): Promise<ApiKey | undefined> {
  const row = await db
    .updateTable('api_keys')
    .set((eb) => ({
      hash: next.hash,
      prefix: next.prefix,
      previous_hash: eb.ref('hash'),
      previous_until: sql<Date>`now() + make_interval(secs => ${next.overlapSeconds})`,
    }))
    .where('project_id', '=', projectId)
    .where('id', '=', keyId)
    .where('revoked_at', 'is', null)
    .returning(columns)
    .executeTakeFirst();
  return row && keyOf(row);
}

/** @returns false when the project has no such key, or none that works. */
export async function revokeKey(db: Db, projectId: string, keyId: string): Promise<boolean> {
  const revoked = await db
    .updateTable('api_keys')
    .set({ revoked_at: sql<Date>`now()` })
    .where('project_id', '=', projectId)
    .where('id', '=', keyId)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  return revoked.numUpdatedRows > 0n;
}

/**
 * The key with this hash, or the one it was rotated into, unless it is revoked, disabled or has expired. The one
 * look-up that has no project yet.
 */
export async function findLivingKey(db: Db, hash: Buffer): Promise<LivingKey | undefined> {
  const row = await db
    .selectFrom('api_keys')
    .select(['id', 'project_id', 'scopes', 'allowed_origins', 'allowed_addresses'])
    .where((eb) =>
      eb.or([
        eb('hash', '=', hash),
        eb.and([eb('previous_hash', '=', hash), eb('previous_until', '>', sql<Date>`now()`)]),
      ]),
    )
    .where('revoked_at', 'is', null)
    .where('disabled_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', sql<Date>`now()`)]))
    .executeTakeFirst();
  return (
    row && {
      keyId: row.id,
      projectId: row.project_id,
      scopes: knownScopes(row.scopes),
      allowedOrigins: row.allowed_origins,
      allowedAddresses: row.allowed_addresses,
    }
  );
}

/** Notes that the key was used, at most once a minute however many processes do. */
export async function touchKey(db: Db, projectId: string, keyId: string, address: string): Promise<void> {
  await db
    .updateTable('api_keys')
    .set({ last_used_at: sql<Date>`now()`, last_used_address: address })
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
