import { sql, type Selectable } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Users } from '../../foundation/database/tables.js';

/** A person who may come in: neither disabled nor deleted. */
export interface User {
  readonly id: string;
  readonly email: string;
  readonly name: string | null;
  readonly role: 'admin' | 'user';
  readonly emailVerified: boolean;
  /** Whether a second factor is asked for. */
  readonly secondFactor: boolean;
  readonly createdAt: Date;
}

export interface UserWithPassword {
  readonly user: User;
  readonly passwordHash: string;
}

const columns = [
  'users.id',
  'users.email',
  'users.name',
  'users.role',
  'users.email_verified_at',
  'users.totp_since',
  'users.created_at',
] as const;
type Row = Pick<
  Selectable<Users>,
  'id' | 'email' | 'name' | 'role' | 'email_verified_at' | 'totp_since' | 'created_at'
>;

function userOf(row: Row): User {
  return {
    id: row.id,
    email: row.email,
    name: row.name,
    role: row.role === 'admin' ? 'admin' : 'user',
    emailVerified: row.email_verified_at !== null,
    secondFactor: row.totp_since !== null,
    createdAt: row.created_at,
  };
}

/** Runs the work in one transaction. */
export function inTransaction<T>(db: Db, work: (tx: Tx) => Promise<T>): Promise<T> {
  return db.transaction().execute(work);
}

/** Registrations wait for each other, so that exactly one of them is the first. Any number of our own. */
const registrationLock = 7_236_450_001n;

export async function lockRegistration(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(${registrationLock.toString()}::bigint)`.execute(tx);
}

/** True once anybody registered, even if they were deleted since. */
export async function hasUsers(db: Db | Tx): Promise<boolean> {
  return (await db.selectFrom('users').select('id').limit(1).executeTakeFirst()) !== undefined;
}

export async function isEmailTaken(db: Db | Tx, canonical: string): Promise<boolean> {
  const row = await db
    .selectFrom('users')
    .select('id')
    .where('email_canonical', '=', canonical)
    .executeTakeFirst();
  return row !== undefined;
}

/** Makes the account; undefined when somebody has the e-mail. */
export async function insertUser(
  tx: Tx,
  user: {
    readonly id: string;
    readonly email: string;
    readonly canonical: string;
    readonly passwordHash: string;
    readonly name: string | null;
    readonly role: 'admin' | 'user';
  },
): Promise<User | undefined> {
  const row = await tx
    .insertInto('users')
    .values({
      id: user.id,
      email: user.email,
      email_canonical: user.canonical,
      password_hash: user.passwordHash,
      name: user.name,
      role: user.role,
    })
    .onConflict((conflict) => conflict.column('email_canonical').doNothing())
    .returning(columns)
    .executeTakeFirst();
  return row && userOf(row);
}

function people(db: Db | Tx) {
  return db
    .selectFrom('users')
    .select(columns)
    .where('users.disabled_at', 'is', null)
    .where('users.deleted_at', 'is', null);
}

export async function findUserByEmail(db: Db, canonical: string): Promise<UserWithPassword | undefined> {
  const row = await people(db)
    .select('users.password_hash')
    .where('users.email_canonical', '=', canonical)
    .executeTakeFirst();
  return row && { user: userOf(row), passwordHash: row.password_hash };
}

export async function findUser(db: Db | Tx, userId: string): Promise<User | undefined> {
  const row = await people(db).where('users.id', '=', userId).executeTakeFirst();
  return row && userOf(row);
}

/** Replaces a hash by another of the same password, unless the password changed meanwhile. */
export async function replacePasswordHash(
  db: Db,
  userId: string,
  before: string,
  after: string,
): Promise<void> {
  await db
    .updateTable('users')
    .set({ password_hash: after })
    .where('id', '=', userId)
    .where('password_hash', '=', before)
    .execute();
}
