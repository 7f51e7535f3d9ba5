import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';
import { secretHash } from '../access/random-secret.js';
import { readEmail, type Email } from './email.js';
import { findGoodLink, useLink } from './link-queries.js';
import type { LoginLimiter } from './login-limiter.js';
import { passwordFault } from './password-rules.js';
import { easeOfGuessing } from './password-strength.js';
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
import type { SecondFactors } from './second-factor.js';

/** Who may make an account: everybody, whoever was invited, nobody. */
export type Registration = 'open' | 'invite' | 'closed';

export interface PeopleOptions {
  readonly db: Db;
  readonly passwords: Passwords;
  readonly limiter: LoginLimiter;
  readonly secondFactors: SecondFactors;
  readonly registration: Registration;
}

/** What somebody gives to make an account. */
export interface Registrant {
  readonly email: string;
  readonly password: string;
  readonly name?: string;
  /** The secret of an invitation. */
  readonly invitation?: string;
}

export interface Credentials {
  readonly email: string;
  readonly password: string;
  /** Of the second factor, or a recovery code. */
  readonly code?: string;
}

export interface People {
  /** @throws Problem `registration-closed`, `invalid-request`, `weak-password`, `email-taken`. */
  register(input: Registrant): Promise<User>;
  /**
   * @param address where the attempt comes from.
   * @throws Problem `invalid-credentials`, the same for an unknown e-mail and a wrong password;
   * `second-factor-required` when only the code is missing.
   */
  logIn(input: Credentials, address: string): Promise<User>;
  /**
   * The hash of a password that an account may have.
   * @param words that whoever guesses tries first. @param pointer of the member that holds it.
   * @throws Problem `weak-password`.
   */
  hashNew(password: string, email: string, words: readonly string[], pointer: string): Promise<string>;
}

export function createPeople(options: PeopleOptions): People {
  const { db, passwords, limiter, registration, secondFactors } = options;

  /** Closed means closed to the second: somebody has to be able to begin. */
  function refuseWhenClosed(isFirst: boolean, invited: boolean): void {
    if (isFirst || registration === 'open') return;
    if (registration === 'closed') throw new Problem('registration-closed');
    if (!invited)
      throw new Problem('registration-closed', { detail: 'An account needs an invitation here.' });
  }

  async function hashNew(
    password: string,
    email: string,
    words: readonly string[],
    pointer: string,
  ): Promise<string> {
    const [local = '', domain = ''] = email.split('@');
    const fault =
      passwordFault(password, email) ??
      (await easeOfGuessing(password, [email, local, ...local.split(/[._+-]/), domain, ...words]));
    if (fault !== undefined) {
      throw new Problem('weak-password', {
        detail: `The password ${fault}.`,
        errors: [{ pointer, detail: fault }],
      });
    }
    return passwords.hash(password);
  }

  return {
    hashNew,
    async register(input) {
      const email = checkedEmail(input.email);
      const hash = input.invitation === undefined ? undefined : secretHash(input.invitation);
      const brings = input.invitation !== undefined;
      // Before the costly hash; the transaction below decides.
      if (brings && !(await findGoodLink(db, hash, 'invitation'))) throw badInvitation();
      refuseWhenClosed(!(await hasUsers(db)), brings);
      if (await isEmailTaken(db, email.canonical)) throw new Problem('email-taken');
      const name = input.name?.trim() ?? null;
      const passwordHash = await hashNew(
        input.password,
        email.canonical,
        name === null ? [] : name.split(/\s+/),
        '/password',
      );
      return inTransaction(db, async (tx) => {
        await lockRegistration(tx);
        const isFirst = !(await hasUsers(tx));
        const invitation = brings ? await useLink(tx, hash, 'invitation') : undefined;
        if (brings && !invitation) throw badInvitation();
        refuseWhenClosed(isFirst, invitation !== undefined);
        if (invitation && invitation.canonical !== null && invitation.canonical !== email.canonical) {
          throw new Problem('invalid-request', {
            errors: [{ pointer: '/email', detail: 'is not the address that was invited' }],
          });
        }
        const user = await insertUser(tx, {
          id: newId(),
          email: email.shown,
          canonical: email.canonical,
          passwordHash,
          name,
          role: isFirst ? 'admin' : (invitation?.role ?? 'user'),
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
        const factor = await secondFactors.judge(found.user.id, input.code);
        if (factor === 'missing') throw new Problem('second-factor-required');
        if (factor === 'wrong') return undefined;
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

function badInvitation(): Problem {
  return new Problem('registration-closed', { detail: 'The invitation is unknown, used or expired.' });
}

/** @throws Problem `invalid-request`. */
export function checkedEmail(text: string): Email {
  const email = readEmail(text);
  if (!email) {
    throw new Problem('invalid-request', {
      errors: [{ pointer: '/email', detail: 'is not an e-mail address' }],
    });
  }
  return email;
}
