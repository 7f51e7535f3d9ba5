import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { isUniqueViolation } from '../../foundation/database/errors.js';
import type { Users } from '../../foundation/database/tables.js';
import type { Page } from '../../foundation/http/pages.js';

/** A person as an administrator sees them; deleted ones are not shown. */
export interface ManagedUser {
  readonly id: string;
  readonly email: string;
  readonly name: string | null;
  readonly role: 'admin' | 'user';
  readonly emailVerified: boolean;
  readonly secondFactor: boolean;
  readonly createdAt: Date;
  readonly disabledAt: Date | null;
}

const columns = [
  'id',
  'email',
  'name',
  'role',
  'email_verified_at',
  'totp_since',
  'created_at',
  'disabled_at',
] as const;

function managedOf(row: Pick<Selectable<Users>, (typeof columns)[number]>): ManagedUser {
  return {
    id: row.id,
    email: row.email,
    name: row.name,
    role: row.role === 'admin' ? 'admin' : 'user',
    emailVerified: row.email_verified_at !== null,
    secondFactor: row.totp_since !== null,
    createdAt: row.created_at,
    disabledAt: row.disabled_at,
  };
}

/** Everybody who is not deleted, newest first: up to `limit + 1`. */
export async function listUsers(db: Db, page: Page): Promise<ManagedUser[]> {
  const rows = await db
    .selectFrom('users')
    .select(columns)
    .where('deleted_at', 'is', null)
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows.map(managedOf);
}

/** Somebody who is not deleted; disabled people are found. */
export async function findManagedUser(
  db: Db | Tx,
  by: { readonly id: string } | { readonly canonical: string },
): Promise<ManagedUser | undefined> {
  const row = await db
    .selectFrom('users')
    .select(columns)
    .where('deleted_at', 'is', null)
    .$if('id' in by, (query) => query.where('id', '=', 'id' in by ? by.id : ''))
    .$if('canonical' in by, (query) =>
      query.where('email_canonical', '=', 'canonical' in by ? by.canonical : ''),
    )
    .executeTakeFirst();
  return row && managedOf(row);
}

/** Administrators who can log in. */
export async function countAdmins(tx: Tx): Promise<number> {
  const { count } = await tx
    .selectFrom('users')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('role', '=', 'admin')
    .where('disabled_at', 'is', null)
    .where('deleted_at', 'is', null)
    .executeTakeFirstOrThrow();
  return count;
}

/** Changes what is given. */
export async function updateUser(
  tx: Tx,
  userId: string,
  change: {
    readonly name?: string | null;
    readonly role?: 'admin' | 'user';
    readonly disabled?: boolean;
    readonly passwordHash?: string;
    readonly deleted?: true;
  },
): Promise<void> {
  await tx
    .updateTable('users')
    .set({
      updated_at: sql<Date>`now()`,
      ...(change.name === undefined ? {} : { name: change.name }),
      ...(change.role === undefined ? {} : { role: change.role }),
      ...(change.disabled === undefined
        ? {}
        : { disabled_at: change.disabled ? sql<Date>`coalesce(disabled_at, now())` : null }),
      ...(change.passwordHash === undefined ? {} : { password_hash: change.passwordHash }),
      ...(change.deleted ? { deleted_at: sql<Date>`now()` } : {}),
    })
    .where('id', '=', userId)
    .where('deleted_at', 'is', null)
    .execute();
}

/**
 * Gives the account another address.
 * @returns false when somebody else has it; the transaction is over then.
 */
export async function changeEmail(
  tx: Tx,
  userId: string,
  email: { readonly shown: string; readonly canonical: string; readonly verified: boolean },
): Promise<boolean> {
  try {
    await tx
      .updateTable('users')
      .set({
        email: email.shown,
        email_canonical: email.canonical,
        email_verified_at: email.verified ? sql<Date>`now()` : null,
        updated_at: sql<Date>`now()`,
      })
      .where('id', '=', userId)
      .where('deleted_at', 'is', null)
      .execute();
    return true;
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}

/** True while the person owns a project that is not deleted. */
export async function ownsProjects(tx: Tx, userId: string): Promise<boolean> {
  const row = await tx
    .selectFrom('projects')
    .select('id')
    .where('owner_id', '=', userId)
    .where('deleted_at', 'is', null)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** People whose account was deleted so many seconds ago and who own no project, not even in the trash. */
export function deletedUsers(db: Db | Tx, deletedForSeconds: number) {
  return db
    .selectFrom('users')
    .select('id')
    .where('deleted_at', '<', sql<Date>`now() - make_interval(secs => ${deletedForSeconds}::float8)`)
    .where((eb) =>
      eb.not(
        eb.exists(eb.selectFrom('projects').select('id').whereRef('projects.owner_id', '=', 'users.id')),
      ),
    )
    .orderBy('deleted_at');
}

/**
 * Removes the rows of people who have been deleted for so many seconds: address, name, sessions and links go, files and
 * keys forget who made them. The audit log keeps the id.
 * @returns how many, at most `limit`.
 */
export async function forgetUsers(db: Db, deletedForSeconds: number, limit: number): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('users')
    .where('id', 'in', deletedUsers(db, deletedForSeconds).limit(limit).forUpdate().skipLocked())
    .executeTakeFirst();
  return Number(numDeletedRows);
}
