import type { Db } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import { secretHash } from '../access/random-secret.js';
import { readEmail } from './email.js';
import { dropLinks, findGoodLink, useLink } from './link-queries.js';
import { sendAccountMail } from './mail.js';
import { checkedEmail, type People } from './people.js';
import { findUser, inTransaction, isEmailTaken, type User } from './queries.js';
import { revokeSessionsOf } from './session-queries.js';
import type { Sessions } from './sessions.js';
import { changeEmail, findManagedUser, updateUser } from './user-queries.js';

export interface AccountOptions {
  readonly db: Db;
  readonly people: People;
  readonly sessions: Sessions;
  /** Whether links can be sent by mail. */
  readonly sendsMail: boolean;
  /** Deletes a person with what is theirs; refused while others depend on it. */
  readonly removeUser: (userId: string) => Promise<void>;
}

/** A person who acts on their own account, and proves with the password that it is they. */
export interface Self {
  readonly userId: string;
  readonly sessionId: string;
  readonly address: string;
  readonly password: string;
  readonly code?: string;
}

/** What people do with their own accounts. */
export interface AccountOperations {
  /** @throws Problem `invalid-credentials` unless password (and code, where there is a second factor) are right. */
  prove(self: Self): Promise<User>;
  rename(userId: string, name: string | null): Promise<User>;
  /** Ends all other sessions. @throws Problem `invalid-credentials`, `weak-password`. */
  changePassword(self: Self, newPassword: string): Promise<void>;
  /**
   * Changes the address at once where no mail can be sent; else once its new owner has followed the link.
   * @throws Problem `invalid-credentials`, `invalid-request`, `email-taken`.
   */
  changeEmail(
    self: Self,
    email: string,
  ): Promise<{ readonly user: User; readonly confirmationSent: boolean }>;
  /** Sends the link that proves the present address. @throws Problem `conflict` where no mail can be sent. */
  sendVerification(userId: string): Promise<void>;
  /** @throws Problem `not-found` for a link that is unknown, used or expired. */
  verifyEmail(token: string): Promise<void>;
  /** Never tells whether somebody has the address. */
  requestReset(email: string): Promise<void>;
  /** Ends all sessions. @throws Problem `not-found`, `weak-password`. */
  resetPassword(token: string, password: string): Promise<void>;
  remove(self: Self): Promise<void>;
}

export function accountOperations(options: AccountOptions): AccountOperations {
  const { db, people, sessions, sendsMail } = options;

  async function present(userId: string): Promise<User> {
    const user = await findUser(db, userId);
    // Disabled since the guard looked.
    if (!user) throw new Problem('unauthenticated');
    return user;
  }

  async function prove({ userId, password, code, address }: Self): Promise<User> {
    const { email } = await present(userId);
    return people.logIn({ email, password, ...(code === undefined ? {} : { code }) }, address);
  }

  return {
    prove,
    async rename(userId, name) {
      await inTransaction(db, (tx) => updateUser(tx, userId, { name: name?.trim() ?? null }));
      return present(userId);
    },

    async changePassword(self, newPassword) {
      const { id, email, name } = await prove(self);
      const hash = await people.hashNew(newPassword, canonicalOf(email), [name ?? ''], '/newPassword');
      await inTransaction(db, async (tx) => {
        await updateUser(tx, id, { passwordHash: hash });
        await dropLinks(tx, id, 'password-reset');
        await revokeSessionsOf(tx, id, 'password-changed', { except: self.sessionId });
      });
      sessions.forget(undefined);
    },

    async changeEmail(self, text) {
      const email = checkedEmail(text);
      const user = await prove(self);
      if (email.canonical !== canonicalOf(user.email) && (await isEmailTaken(db, email.canonical))) {
        throw new Problem('email-taken');
      }
      await inTransaction(db, async (tx) => {
        await dropLinks(tx, user.id);
        if (sendsMail) {
          await enqueue(tx, sendAccountMail, { kind: 'email-verification', userId: user.id, email });
        } else if (!(await changeEmail(tx, user.id, { ...email, verified: false }))) {
          throw new Problem('email-taken');
        }
      });
      return { user: await present(user.id), confirmationSent: sendsMail };
    },

    async sendVerification(userId) {
      if (!sendsMail) throw new Problem('conflict', { detail: 'This server sends no mail.' });
      const { email: shown } = await present(userId);
      const email = { shown, canonical: canonicalOf(shown) };
      await inTransaction(db, (tx) =>
        enqueue(tx, sendAccountMail, { kind: 'email-verification', userId, email }, { dedupeKey: userId }),
      );
    },

    async verifyEmail(token) {
      await inTransaction(db, async (tx) => {
        const link = await useLink(tx, secretHash(token), 'email-verification');
        if (link?.userId == null || link.email === null || link.canonical === null) throw badLink();
        const email = { shown: link.email, canonical: link.canonical, verified: true };
        if (!(await changeEmail(tx, link.userId, email))) throw new Problem('email-taken');
      });
    },

    async requestReset(text) {
      if (!sendsMail) return;
      const canonical = readEmail(text)?.canonical;
      if (canonical === undefined) return;
      // The job looks for the person, so that this takes the same time for everybody. One mail at a time.
      await inTransaction(db, (tx) =>
        enqueue(
          tx,
          sendAccountMail,
          { kind: 'password-reset', canonical },
          { dedupeKey: `reset ${canonical}` },
        ),
      );
    },

    async resetPassword(token, password) {
      const hash = secretHash(token);
      // Before the costly hash; the transaction below decides.
      const { userId } = (await findGoodLink(db, hash, 'password-reset')) ?? {};
      const owner = userId == null ? undefined : await findManagedUser(db, { id: userId });
      if (!owner) throw badLink();
      const words = [owner.name ?? ''];
      const passwordHash = await people.hashNew(password, canonicalOf(owner.email), words, '/password');
      await inTransaction(db, async (tx) => {
        const link = await useLink(tx, hash, 'password-reset');
        const user = link?.userId == null ? undefined : await findManagedUser(tx, { id: link.userId });
        if (!user || user.disabledAt) throw badLink();
        await updateUser(tx, user.id, { passwordHash });
        await dropLinks(tx, user.id);
        await revokeSessionsOf(tx, user.id, 'password-reset');
      });
      sessions.forget(undefined);
    },

    async remove(self) {
      const user = await prove(self);
      await options.removeUser(user.id);
    },
  };
}

function canonicalOf(email: string): string {
  return readEmail(email)?.canonical ?? email;
}

function badLink(): Problem {
  return new Problem('not-found', { detail: 'The link is unknown, used or expired.' });
}
