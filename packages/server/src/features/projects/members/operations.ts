import type { Db } from '../../../foundation/database/connect.js';
import { newId } from '../../../foundation/ids.js';
import { Problem } from '../../../foundation/problems.js';
import { newSecret, secretHash } from '../../access/random-secret.js';
import { inTransaction, lockProject, type Project } from '../queries.js';
import {
  addMember,
  changeRole,
  insertInvitation,
  isActivePerson,
  removeMember,
  replaceOwner,
  useInvitation,
  type Invitation,
  type SharedRole,
} from './queries.js';

export interface MembersOptions {
  readonly db: Db;
  /** Where pages for people are, without a slash at the end; links to follow begin with it. */
  readonly pagesUrl: string;
  /** Somebody's role in a project changed, and that is committed. */
  readonly onMembersChanged?: ((projectId: string) => void) | undefined;
}

export interface MemberOperations {
  readonly db: Db;
  /** @returns the invitation with the secret that is shown this once, and the link that carries it. */
  invite(
    projectId: string,
    userId: string,
    input: { readonly role: SharedRole; readonly expiresIn?: number },
  ): Promise<{ readonly invitation: Invitation; readonly token: string; readonly url: string }>;
  /** @throws Problem `not-found` for a token that is unknown, used or expired; `conflict` for members. */
  accept(
    userId: string,
    token: string,
  ): Promise<{ readonly projectId: string; readonly name: string; readonly role: SharedRole }>;
  /** @throws Problem `not-found` when the person is no member; `conflict` for the owner. */
  change(projectId: string, userId: string, role: SharedRole): Promise<void>;
  /** @throws Problem as `change`. */
  remove(projectId: string, userId: string): Promise<void>;
  /**
   * The owner becomes an editor.
   * @throws Problem `not-found` when the heir is no member who can log in; `forbidden` for an owner of a moment ago.
   */
  transfer(projectId: string, ownerId: string, heirId: string): Promise<void>;
}

/** An invitation works for a week when nobody says how long. */
export const invitationSeconds = 7 * 86_400;

export function memberOperations({ db, pagesUrl, onMembersChanged }: MembersOptions): MemberOperations {
  return {
    db,
    async invite(projectId, userId, { role, expiresIn }) {
      const secret = newSecret();
      const invitation = await insertInvitation(db, projectId, {
        id: newId(),
        role,
        hash: secret.hash,
        createdBy: userId,
        lifetimeSeconds: expiresIn ?? invitationSeconds,
      });
      // In the fragment: it is sent to no server and stands in no access log.
      return { invitation, token: secret.text, url: `${pagesUrl}/invitation#token=${secret.text}` };
    },
    async accept(userId, token) {
      const hash = secretHash(token);
      const joined = await inTransaction(db, async (tx) => {
        const found = hash && (await useInvitation(tx, hash));
        if (!found) throw new Problem('not-found', { detail: 'The invitation is unknown, used or expired.' });
        const project = await lockProject(tx, found.projectId);
        if (!project) throw new Problem('not-found');
        // Thrown inside the transaction: the invitation stays for somebody else.
        if (project.ownerId === userId || !(await addMember(tx, found.projectId, userId, found.role))) {
          throw new Problem('conflict', { detail: 'You work in this project already.' });
        }
        return found;
      });
      onMembersChanged?.(joined.projectId);
      return joined;
    },
    async change(projectId, userId, role) {
      await inTransaction(db, async (tx) => {
        refuseOwner(await lockProject(tx, projectId), userId);
        if (!(await changeRole(tx, projectId, userId, role))) throw new Problem('not-found');
      });
      onMembersChanged?.(projectId);
    },
    async remove(projectId, userId) {
      await inTransaction(db, async (tx) => {
        refuseOwner(await lockProject(tx, projectId), userId);
        if (!(await removeMember(tx, projectId, userId))) throw new Problem('not-found');
      });
      onMembersChanged?.(projectId);
    },
    async transfer(projectId, ownerId, heirId) {
      await inTransaction(db, async (tx) => {
        const project = await lockProject(tx, projectId);
        if (!project) throw new Problem('not-found');
        // Handed over since the guard looked.
        if (project.ownerId !== ownerId) throw new Problem('forbidden');
        if (ownerId === heirId) return;
        if (!(await removeMember(tx, projectId, heirId)) || !(await isActivePerson(tx, heirId))) {
          throw new Problem('not-found', { detail: 'The new owner must be a member of the project.' });
        }
        await replaceOwner(tx, projectId, heirId);
        await addMember(tx, projectId, ownerId, 'editor');
      });
      onMembersChanged?.(projectId);
    },
  };
}

function refuseOwner(project: Project | undefined, userId: string): void {
  if (!project) throw new Problem('not-found');
  if (project.ownerId === userId) {
    throw new Problem('conflict', { detail: 'This is the owner. Hand the project over first.' });
  }
}
