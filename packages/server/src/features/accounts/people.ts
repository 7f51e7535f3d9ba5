import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';
import { readEmail, type Email } from './email.js';
import type { LoginLimiter } from './login-limiter.js';
import { passwordFault } from './password-rules.js';
import type { Passwords } from './passwords.js';
import {
  findUserByEmail,
  hasUsers,
  insertUser,
  inTransaction,
  isEmailTaken,
  lockRegistration,
  replacePasswordHash,
  type User,
} from './queries.js';

export interface PeopleOptions {
  readonly db: Db;
  readonly passwords: Passwords;
  readonly limiter: LoginLimiter;
  readonly registration: 'open' | 'closed';
}

export interface People {
  /** @throws Problem `registration-closed`, `invalid-request`, `weak-password`, `email-taken`. */
  register(input: { email: string; password: string; name?: string }): Promise<User>;
  /**
   * @param address where the attempt comes from.
   * @throws Problem `invalid-credentials`, the same for an unknown e-mail and a wrong password.
   */
  logIn(input: { email: string; password: string }, address: string): Promise<User>;
}

export function createPeople({ db, passwords, limiter, registration }: PeopleOptions): People {
  /** Closed means closed to the second: somebody has to be able to begin. */
  async function refuseWhenClosed(isFirst: boolean): Promise<void> {
    if (registration === 'closed' && !isFirst) throw new Problem('registration-closed');
  }

  return {
    async register(input) {
      const email = checkedEmail(input.email);
      const fault = passwordFault(input.password, email.canonical);
      if (fault !== undefined) {
        throw new Problem('weak-password', {
          detail: `The password ${fault}.`,
          errors: [{ pointer: '/password', detail: fault }],
        });
      }
      // Before the costly hash; the transaction below decides.
      await refuseWhenClosed(!(await hasUsers(db)));
      if (await isEmailTaken(db, email.canonical)) throw new Problem('email-taken');
      const passwordHash = await passwords.hash(input.password);
      return inTransaction(db, async (tx) => {
        await lockRegistration(tx);
        const isFirst = !(await hasUsers(tx));
        await refuseWhenClosed(isFirst);
        const user = await insertUser(tx, {
          id: newId(),
          email: email.shown,
          canonical: email.canonical,
          passwordHash,
          name: input.name?.trim() ?? null,
          role: isFirst ? 'admin' : 'user',
        });
        if (!user) throw new Problem('email-taken');
        return user;
      });
    },

    async logIn(input, address) {
      // What is no address belongs to nobody, and is compared with the dummy like any unknown one.
      const email = readEmail(input.email)?.canonical ?? '';
      const user = await limiter.attempt(address, email, async () => {
        const found = await findUserByEmail(db, email);
        const matches = await passwords.verify(input.password, found?.passwordHash);
        if (!found || !matches) return undefined;
        if (passwords.isOutdated(found.passwordHash)) {
          const renewed = await passwords.hash(input.password);
          await replacePasswordHash(db, found.user.id, found.passwordHash, renewed);
        }
        return found.user;
      });
      if (!user) throw new Problem('invalid-credentials');
      return user;
    },
  };
}

function checkedEmail(text: string): Email {
  const email = readEmail(text);
  if (!email) {
    throw new Problem('invalid-request', {
      errors: [{ pointer: '/email', detail: 'is not an e-mail address' }],
    });
  }
  return email;
}
