import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Page } from '../../foundation/http/pages.js';

/** A session that lets its person in. */
export interface LivingSession {
  readonly userId: string;
  readonly role: 'admin' | 'user';
}

/** The database's clock decides expiry: all processes share it. */
const later = (seconds: number) => sql<Date>`now() + make_interval(secs => ${seconds})`;

/** The session, unless it was revoked, ran out, or its person is disabled or deleted. */
export async function findLivingSession(db: Db | Tx, sessionId: string): Promise<LivingSession | undefined> {
  const row = await db
    .selectFrom('sessions')
    .innerJoin('users', 'users.id', 'sessions.user_id')
    .select(['users.id', 'users.role'])
    .where('sessions.id', '=', sessionId)
    .where('sessions.revoked_at', 'is', null)
    .where('sessions.expires_at', '>', sql<Date>`now()`)
    .where('users.disabled_at', 'is', null)
    .where('users.deleted_at', 'is', null)
    .executeTakeFirst();
  return row && { userId: row.id, role: row.role === 'admin' ? 'admin' : 'user' };
}

export async function insertSession(
  tx: Tx,
  session: {
    readonly id: string;
    readonly userId: string;
    readonly userAgent: string | null;
    readonly lifetimeSeconds: number;
  },
): Promise<void> {
  await tx
    .insertInto('sessions')
    .values({
      id: session.id,
      user_id: session.userId,
      user_agent: session.userAgent,
      expires_at: later(session.lifetimeSeconds),
    })
    .execute();
}

export async function insertRefreshToken(
  tx: Tx,
  sessionId: string,
  hash: Buffer,
  lifetimeSeconds: number,
): Promise<void> {
  await tx
    .insertInto('refresh_tokens')
    .values({ hash, session_id: sessionId, expires_at: later(lifetimeSeconds) })
    .execute();
}

/** The session that a refresh token belongs to; that never changes. */
export async function findSessionOfToken(db: Db | Tx, hash: Buffer): Promise<string | undefined> {
  const row = await db
    .selectFrom('refresh_tokens')
    .select('session_id')
    .where('hash', '=', hash)
    .executeTakeFirst();
  return row?.session_id;
}

/** Lets one refresh of a session happen after the other. */
export async function lockSession(tx: Tx, sessionId: string): Promise<void> {
  await tx.selectFrom('sessions').select('id').where('id', '=', sessionId).forUpdate().execute();
}

/**
 * What a refresh token is worth now. `used`: it was exchanged before. `repeated`: so it was, but not longer
 * ago than the grace, and nothing that came of it was exchanged since.
 */
export async function judgeRefreshToken(
  tx: Tx,
  hash: Buffer,
  graceSeconds: number,
): Promise<'good' | 'repeated' | 'used' | 'expired' | undefined> {
  const row = await tx
    .selectFrom('refresh_tokens as token')
    .select((eb) => [
      eb('token.expires_at', '<=', sql<Date>`now()`).as('expired'),
      eb('token.used_at', 'is not', null).as('used'),
      eb
        .and([
          eb('token.used_at', '>', sql<Date>`now() - make_interval(secs => ${graceSeconds})`),
          eb.not(
            eb.exists(
              eb
                .selectFrom('refresh_tokens as other')
                .select('other.hash')
                .whereRef('other.session_id', '=', 'token.session_id')
                .whereRef('other.used_at', '>', 'token.used_at'),
            ),
          ),
        ])
        .as('repeated'),
    ])
    .where('token.hash', '=', hash)
    .executeTakeFirst();
  if (!row) return undefined;
  if (row.used) return row.repeated ? 'repeated' : 'used';
  return row.expired ? 'expired' : 'good';
}

/** Marks the token used (once: a repetition does not renew its grace) and renews the session. */
export async function exchangeRefreshToken(
  tx: Tx,
  sessionId: string,
  hash: Buffer,
  lifetimeSeconds: number,
): Promise<void> {
  await tx
    .updateTable('refresh_tokens')
    // Not now(), which is the transaction's start: the order of exchanges must be that of the lock.
    .set({ used_at: sql<Date>`clock_timestamp()` })
    .where('hash', '=', hash)
    .where('used_at', 'is', null)
    .execute();
  await tx
    .updateTable('sessions')
    .set({ last_used_at: sql<Date>`now()`, expires_at: later(lifetimeSeconds) })
    .where('id', '=', sessionId)
    .execute();
  await tx
    .deleteFrom('refresh_tokens')
    .where('session_id', '=', sessionId)
    .where('expires_at', '<', sql<Date>`now()`)
    .execute();
}

export async function revokeSession(db: Db | Tx, sessionId: string, reason: string): Promise<void> {
  await db
    .updateTable('sessions')
    .set({ revoked_at: sql<Date>`now()`, revoked_reason: reason })
    .where('id', '=', sessionId)
    .where('revoked_at', 'is', null)
    .execute();
}

/** A session as its person sees it. */
export interface SessionView {
  readonly id: string;
  readonly userAgent: string | null;
  readonly createdAt: Date;
  readonly lastUsedAt: Date;
  readonly expiresAt: Date;
}

/** The person's sessions that still work, newest first: up to `limit + 1`. */
export async function listSessions(db: Db, userId: string, page: Page): Promise<SessionView[]> {
  return db
    .selectFrom('sessions')
    .select([
      'id',
      'user_agent as userAgent',
      'created_at as createdAt',
      'last_used_at as lastUsedAt',
      'expires_at as expiresAt',
    ])
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
}

/**
 * Revokes sessions of a person.
 * @param which one of them, all, or all but one.
 * @returns how many were in force.
 */
export async function revokeSessionsOf(
  db: Db | Tx,
  userId: string,
  reason: string,
  which: { readonly only?: string; readonly except?: string | undefined } = {},
): Promise<number> {
  const revoked = await db
    .updateTable('sessions')
    .set({ revoked_at: sql<Date>`now()`, revoked_reason: reason })
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .$if(which.only !== undefined, (query) => query.where('id', '=', which.only ?? ''))
    .$if(which.except !== undefined, (query) => query.where('id', '<>', which.except ?? ''))
    .executeTakeFirst();
  return Number(revoked.numUpdatedRows);
}

/**
 * Removes up to `limit` sessions that ran out more than a day ago, with their tokens. Revoked ones stay until
 * then, so that a stolen refresh token is still recognised.
 *
 * @returns how many there were.
 */
export async function deleteEndedSessions(db: Db, limit: number): Promise<number> {
  const ended = await db
    .deleteFrom('sessions')
    .where('id', 'in', endedSessions(db).limit(limit))
    .executeTakeFirst();
  return Number(ended.numDeletedRows);
}

/** Sessions that ran out more than a day ago, those first that did so first. */
export function endedSessions(db: Db) {
  return db
    .selectFrom('sessions')
    .select('id')
    .where('expires_at', '<', sql<Date>`now() - interval '1 day'`)
    .orderBy('expires_at');
}
