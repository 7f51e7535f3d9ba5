import { sql } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { Page } from '../../../foundation/http/pages.js';
import type { Role } from '../../access/permissions.js';

/** What somebody can be made in a project; it has one owner already. */
export type SharedRole = Exclude<Role, 'owner'>;
export const sharedRoles = ['editor', 'viewer'] as const satisfies readonly SharedRole[];

/** Somebody who works in a project. */
export interface ProjectMember {
  /** The person's. */
  readonly id: string;
  readonly email: string;
  readonly name: string | null;
  readonly role: Role;
  readonly since: Date;
}

/** An invitation that still works. */
export interface Invitation {
  readonly id: string;
  readonly role: SharedRole;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

const sharedRole = (text: string): SharedRole => (text === 'editor' ? 'editor' : 'viewer');

/** Owner and members that have an account still, newest account first: up to `limit + 1`. */
export async function listMembers(db: Db, projectId: string, page: Page): Promise<ProjectMember[]> {
  const rows = await db
    .selectFrom(
      db
        .selectFrom('projects')
        .select(['owner_id as user_id', sql<Role>`'owner'`.as('role'), 'created_at as since'])
        .where('id', '=', projectId)
        .unionAll(
          db
            .selectFrom('project_members')
            .select(['user_id', sql<Role>`role`.as('role'), 'created_at as since'])
            .where('project_id', '=', projectId),
        )
        .as('member'),
    )
    .innerJoin('users', 'users.id', 'member.user_id')
    .select(['users.id', 'users.email', 'users.name', 'member.role', 'member.since'])
    .where('users.deleted_at', 'is', null)
    .$if(page.after !== undefined, (query) => query.where('users.id', '<', page.after ?? ''))
    .orderBy('users.id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows;
}

/** @returns false when the person is no member (the owner is none either). */
export async function changeRole(
  tx: Tx,
  projectId: string,
  userId: string,
  role: SharedRole,
): Promise<boolean> {
  const changed = await tx
    .updateTable('project_members')
    .set({ role })
    .where('project_id', '=', projectId)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return changed.numUpdatedRows > 0n;
}

/** @returns false when the person is no member. */
export async function removeMember(db: Db | Tx, projectId: string, userId: string): Promise<boolean> {
  const removed = await db
    .deleteFrom('project_members')
    .where('project_id', '=', projectId)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return removed.numDeletedRows > 0n;
}

/** @returns false when the person is a member already. */
export async function addMember(
  tx: Tx,
  projectId: string,
  userId: string,
  role: SharedRole,
): Promise<boolean> {
  const added = await tx
    .insertInto('project_members')
    .values({ project_id: projectId, user_id: userId, role })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (added.numInsertedOrUpdatedRows ?? 0n) > 0n;
}

/** Makes another person the owner, in the project's locked row. */
export async function replaceOwner(tx: Tx, projectId: string, ownerId: string): Promise<void> {
  await tx
    .updateTable('projects')
    .set((eb) => ({ owner_id: ownerId, version: eb('version', '+', 1), updated_at: eb.fn<Date>('now') }))
    .where('id', '=', projectId)
    .execute();
}

/** True for people who can log in. */
export async function isActivePerson(tx: Tx, userId: string): Promise<boolean> {
  const row = await tx
    .selectFrom('users')
    .select('id')
    .where('id', '=', userId)
    .where('disabled_at', 'is', null)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return row !== undefined;
}

/** The ids of the living projects that the person owns, and whether others work in each. */
export async function ownedProjects(
  db: Db,
  ownerId: string,
): Promise<readonly { readonly id: string; readonly shared: boolean }[]> {
  return db
    .selectFrom('projects')
    .select(['projects.id'])
    .select((eb) =>
      eb
        .exists(
          eb
            .selectFrom('project_members')
            .innerJoin('users', 'users.id', 'project_members.user_id')
            .select('project_members.user_id')
            .whereRef('project_members.project_id', '=', 'projects.id')
            .where('users.deleted_at', 'is', null),
        )
        .$castTo<boolean>()
        .as('shared'),
    )
    .where('owner_id', '=', ownerId)
    .where('deleted_at', 'is', null)
    .orderBy('id')
    .execute();
}

export async function insertInvitation(
  db: Db,
  projectId: string,
  invitation: {
    readonly id: string;
    readonly role: SharedRole;
    readonly hash: Buffer;
    readonly createdBy: string;
    readonly lifetimeSeconds: number;
  },
): Promise<Invitation> {
  const row = await db
    .insertInto('project_invitations')
    .values({
      id: invitation.id,
      project_id: projectId,
      role: invitation.role,
      hash: invitation.hash,
      created_by: invitation.createdBy,
      expires_at: sql<Date>`now() + make_interval(secs => ${invitation.lifetimeSeconds})`,
    })
    .returning(['id', 'role', 'created_at as createdAt', 'expires_at as expiresAt'])
    .executeTakeFirstOrThrow();
  return { ...row, role: sharedRole(row.role) };
}

/** The invitations that still work, newest first: up to `limit + 1`. */
export async function listInvitations(db: Db, projectId: string, page: Page): Promise<Invitation[]> {
  const rows = await db
    .selectFrom('project_invitations')
    .select(['id', 'role', 'created_at as createdAt', 'expires_at as expiresAt'])
    .where('project_id', '=', projectId)
    .where('used_at', 'is', null)
    .where('expires_at', '>', sql<Date>`now()`)
    .$if(page.after !== undefined, (query) => query.where('id', '<', page.after ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return rows.map((row) => ({ ...row, role: sharedRole(row.role) }));
}

/** @returns false when the project has no such invitation, or it was used. */
export async function deleteInvitation(db: Db, projectId: string, invitationId: string): Promise<boolean> {
  const gone = await db
    .deleteFrom('project_invitations')
    .where('project_id', '=', projectId)
    .where('id', '=', invitationId)
    .where('used_at', 'is', null)
    .executeTakeFirst();
  return gone.numDeletedRows > 0n;
}

/**
 * Uses the invitation up, for one caller of any number at once.
 * @returns undefined when it is unknown, used, or expired, or its project is deleted.
 */
export async function useInvitation(
  tx: Tx,
  hash: Buffer,
): Promise<{ readonly projectId: string; readonly name: string; readonly role: SharedRole } | undefined> {
  const row = await tx
    .updateTable('project_invitations')
    .from('projects')
    .set({ used_at: sql<Date>`now()` })
    .whereRef('projects.id', '=', 'project_invitations.project_id')
    .where('projects.deleted_at', 'is', null)
    .where('project_invitations.hash', '=', hash)
    .where('project_invitations.used_at', 'is', null)
    .where('project_invitations.expires_at', '>', sql<Date>`now()`)
    .returning(['project_invitations.project_id as projectId', 'projects.name', 'project_invitations.role'])
    .executeTakeFirst();
  return row && { ...row, role: sharedRole(row.role) };
}
