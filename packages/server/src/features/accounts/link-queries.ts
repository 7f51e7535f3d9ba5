import { sql } from 'kysely';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import type { Page } from '../../foundation/http/pages.js';

/** An invitation to the server that still works. */
export interface ServerInvitation {
  readonly id: string;
  /** The only address that may use it; null: any. */
  readonly email: string | null;
  readonly role: 'admin' | 'user';
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/** What a link that was used up was for. */
export interface UsedLink {
  readonly userId: string | null;
  readonly email: string | null;
  readonly canonical: string | null;
  readonly role: 'admin' | 'user' | null;
}

const later = (seconds: number) => sql<Date>`now() + make_interval(secs => ${seconds})`;
const roleOf = (text: string): 'admin' | 'user' => (text === 'admin' ? 'admin' : 'user');
const invitationColumns = ['id', 'email', 'role', 'created_at', 'expires_at'] as const;
interface InvitationRow {
  id: string;
  email: string | null;
  role: string | null;
  created_at: Date;
  expires_at: Date;
}
const invitationOf = (row: InvitationRow): ServerInvitation => ({
  id: row.id,
  email: row.email,
  role: roleOf(row.role ?? 'user'),
  createdAt: row.created_at,
  expiresAt: row.expires_at,
});

export async function insertServerInvitation(
  db: Db,
  invitation: {
    readonly hash: Buffer;
    readonly email: { readonly shown: string; readonly canonical: string } | undefined;
    readonly role: 'admin' | 'user';
    readonly createdBy: string;
    readonly lifetimeSeconds: number;
  },
): Promise<ServerInvitation> {
  const row = await db
    .insertInto('account_links')
    .values({
      id: newId(),
      kind: 'invitation',
      hash: invitation.hash,
      email: invitation.email?.shown ?? null,
      email_canonical: invitation.email?.canonical ?? null,
      role: invitation.role,
      created_by: invitation.createdBy,
      expires_at: later(invitation.lifetimeSeconds),
    })
    .returning(invitationColumns)
    .executeTakeFirstOrThrow();
  return invitationOf(row);
}

/** The invitations that still work, newest first: up to `limit + 1`. */
export async function listServerInvitations(db: Db, page: Page): Promise<ServerInvitation[]> {
  const rows = await db
    .selectFrom('account_links')
    .select(invitationColumns)
    .where('kind', '=', 'invitation')
    .where('used_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows.map(invitationOf);
}

/** @returns false when there is no such invitation, or it was used. */
export async function deleteServerInvitation(db: Db, id: string): Promise<boolean> {
  const gone = await db
    .deleteFrom('account_links')
    .where('id', '=', id)
    .where('kind', '=', 'invitation')
    .where('used_at', 'is', null)
    .executeTakeFirst();
  return gone.numDeletedRows > 0n;
}

/** A link about an account takes the place of those of its kind that were not used. */
export async function replaceLink(
  tx: Tx,
  link: {
    readonly kind: 'password-reset' | 'email-verification';
    readonly hash: Buffer;
    readonly userId: string;
    /** The address to be proved. */
    readonly email?: { readonly shown: string; readonly canonical: string };
    readonly createdBy?: string;
    readonly lifetimeSeconds: number;
  },
): Promise<void> {
  await dropLinks(tx, link.userId, link.kind);
  await tx
    .insertInto('account_links')
    .values({
      id: newId(),
      kind: link.kind,
      hash: link.hash,
      user_id: link.userId,
      email: link.email?.shown ?? null,
      email_canonical: link.email?.canonical ?? null,
      created_by: link.createdBy ?? null,
      expires_at: later(link.lifetimeSeconds),
    })
    .execute();
}

/** Makes links of an account useless that were not used yet; of every kind when none is named. */
export async function dropLinks(
  tx: Tx,
  userId: string,
  kind?: 'password-reset' | 'email-verification',
): Promise<void> {
  await tx
    .deleteFrom('account_links')
    .where('user_id', '=', userId)
    .$if(kind !== undefined, (query) => query.where('kind', '=', kind ?? ''))
    .where('used_at', 'is', null)
    .execute();
}

/**
 * Uses a link up, for one of any number of callers at once.
 * @returns undefined when it is unknown, of another kind, used, or expired.
 */
export async function useLink(
  tx: Tx,
  hash: Buffer | undefined,
  kind: 'invitation' | 'password-reset' | 'email-verification',
): Promise<UsedLink | undefined> {
  if (hash === undefined) return undefined;
  const row = await tx
    .updateTable('account_links')
    .set({ used_at: sql<Date>`now()` })
    .where('hash', '=', hash)
    .where('kind', '=', kind)
    .where('used_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .returning(['user_id', 'email', 'email_canonical', 'role'])
    .executeTakeFirst();
  return (
    row && {
      userId: row.user_id,
      email: row.email,
      canonical: row.email_canonical,
      role: row.role === null ? null : roleOf(row.role),
    }
  );
}

/** The link as it would be taken now; for what is too costly to be done in vain. */
export async function findGoodLink(
  db: Db,
  hash: Buffer | undefined,
  kind: 'invitation' | 'password-reset',
): Promise<{ readonly userId: string | null } | undefined> {
  if (hash === undefined) return undefined;
  return db
    .selectFrom('account_links')
    .select('user_id as userId')
    .where('hash', '=', hash)
    .where('kind', '=', kind)
    .where('used_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .executeTakeFirst();
}

/** Removes up to `limit` links that expired a day ago. @returns how many there were. */
export async function deleteExpiredLinks(db: Db, limit: number): Promise<number> {
  const gone = await db
    .deleteFrom('account_links')
    .where('id', 'in', expiredLinks(db).limit(limit))
    .executeTakeFirst();
  return Number(gone.numDeletedRows);
}

/** Links that have not worked for a day, those first that have not for longest. */
export function expiredLinks(db: Db) {
  return db
    .selectFrom('account_links')
    .select('id')
    .where('expires_at', '<', sql<Date>`now() - interval '1 day'`)
    .orderBy('expires_at');
}
