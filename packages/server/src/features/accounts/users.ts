import type { Db } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import { newSecret } from '../access/random-secret.js';
import { dropLinks, insertServerInvitation, replaceLink, type ServerInvitation } from './link-queries.js';
import { linkTo, resetSeconds } from './mail.js';
import { checkedEmail } from './people.js';
import { inTransaction, lockRegistration } from './queries.js';
import { removeSecondFactor } from './second-factor-queries.js';
import { revokeSessionsOf } from './session-queries.js';
import { countAdmins, findManagedUser, ownsProjects, updateUser, type ManagedUser } from './user-queries.js';

export interface UsersOptions {
  readonly db: Db;
  readonly pagesUrl: string;
  /** Somebody's sessions ended, and that is committed. */
  readonly onSessionsEnded: () => void;
  /**
   * Deletes every project of a person who is about to be deleted.
   * @throws Problem `conflict` while others work in one of them.
   */
  readonly removeProjectsOf: (userId: string) => Promise<void>;
}

/** A link that works once, shown this once. */
export interface OneTimeLink {
  readonly token: string;
  readonly url: string;
  /** Seconds that it works. */
  readonly expiresIn: number;
}

/** What administrators do with people; commands do the same. `not-found` is thrown for whoever is not there. */
export interface UserOperations {
  readonly db: Db;
  find(userId: string): Promise<ManagedUser>;
  /** @throws Problem `conflict` when no administrator would be left. */
  change(
    userId: string,
    change: {
      readonly role?: 'admin' | 'user';
      readonly disabled?: boolean;
      /** Only `false`: takes a second factor away that was lost. */
      readonly secondFactor?: false;
    },
  ): Promise<ManagedUser>;
  /**
   * Closes the account and everything that is the person's; kept, and closed on every path at once.
   * @throws Problem `conflict` when no administrator would be left, or others work in a project of theirs.
   */
  remove(userId: string): Promise<void>;
  /** A link that lets the person choose a new password. */
  resetLink(userId: string, createdBy?: string): Promise<OneTimeLink>;
  invite(
    createdBy: string,
    input: { readonly email?: string; readonly role?: 'admin' | 'user'; readonly expiresIn?: number },
  ): Promise<{ readonly invitation: ServerInvitation; readonly token: string; readonly url: string }>;
}

/** An invitation works for a week when nobody says how long. */
export const serverInvitationSeconds = 7 * 86_400;

export function userOperations(options: UsersOptions): UserOperations {
  const { db, pagesUrl } = options;

  async function find(userId: string): Promise<ManagedUser> {
    const user = await findManagedUser(db, { id: userId });
    if (!user) throw new Problem('not-found');
    return user;
  }

  /** Before anything of theirs is deleted; the transaction at the end decides. */
  async function refuseLastAdmin({ role, disabledAt }: ManagedUser): Promise<void> {
    if (role !== 'admin' || disabledAt) return;
    await inTransaction(db, async (tx) => {
      if ((await countAdmins(tx)) === 1) throw lastAdmin();
    });
  }

  return {
    db,
    find,
    async change(userId, { role, disabled, secondFactor }) {
      await inTransaction(db, async (tx) => {
        // One after the other, so that two administrators cannot remove one another at once.
        await lockRegistration(tx);
        if (!(await findManagedUser(tx, { id: userId }))) throw new Problem('not-found');
        await updateUser(tx, userId, {
          ...(role === undefined ? {} : { role }),
          ...(disabled === undefined ? {} : { disabled }),
        });
        if (disabled === true) {
          await revokeSessionsOf(tx, userId, 'disabled');
          await dropLinks(tx, userId);
        }
        if (secondFactor === false) await removeSecondFactor(tx, userId);
        if ((await countAdmins(tx)) === 0) throw lastAdmin();
      });
      options.onSessionsEnded();
      return find(userId);
    },

    async remove(userId) {
      await refuseLastAdmin(await find(userId));
      await options.removeProjectsOf(userId);
      await inTransaction(db, async (tx) => {
        await lockRegistration(tx);
        if (await ownsProjects(tx, userId)) {
          throw new Problem('conflict', { detail: 'A project was made meanwhile. Try again.' });
        }
        await updateUser(tx, userId, { deleted: true });
        await revokeSessionsOf(tx, userId, 'deleted');
        await dropLinks(tx, userId);
        if ((await countAdmins(tx)) === 0) throw lastAdmin();
      });
      options.onSessionsEnded();
    },

    async resetLink(userId, createdBy) {
      await find(userId);
      const secret = newSecret();
      await inTransaction(db, (tx) =>
        replaceLink(tx, {
          kind: 'password-reset',
          hash: secret.hash,
          userId,
          ...(createdBy === undefined ? {} : { createdBy }),
          lifetimeSeconds: resetSeconds,
        }),
      );
      const url = linkTo(pagesUrl, 'password-reset', secret.text);
      return { token: secret.text, url, expiresIn: resetSeconds };
    },

    async invite(createdBy, { email, role = 'user', expiresIn = serverInvitationSeconds }) {
      const secret = newSecret();
      const invitation = await insertServerInvitation(db, {
        hash: secret.hash,
        email: email === undefined ? undefined : checkedEmail(email),
        role,
        createdBy,
        lifetimeSeconds: expiresIn,
      });
      return { invitation, token: secret.text, url: linkTo(pagesUrl, 'invitation', secret.text) };
    },
  };
}

function lastAdmin(): Problem {
  return new Problem('conflict', { detail: 'This is the last administrator. Make somebody else one first.' });
}
