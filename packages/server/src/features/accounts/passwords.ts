import { randomBytes } from 'node:crypto';

import { hash, parseOptions, verify } from '@node-rs/argon2';
import pLimit from 'p-limit';

import { Problem } from '../../foundation/problems.js';
import { canonicalPassword, maxPasswordBytes } from './password-rules.js';

/** What one hash costs whoever computes it. */
export interface HashCost {
  readonly memoryKib: number;
  readonly passes: number;
}

/**
 * OWASP's minimum for argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane. Fifty at once at
 * the package's former defaults stalled a file read by 45 s; these take an eighth of it, and are bounded below.
 */
export const productCost: HashCost = { memoryKib: 19_456, passes: 2 };

export interface PasswordsOptions {
  /** Hashes computed at the same time; each takes a thread of the shared pool. */
  readonly parallel: number;
  /** Hashes that may wait for their turn; more are refused with `overloaded`. */
  readonly maxWaiting?: number;
  readonly cost?: HashCost;
}

export interface Passwords {
  /** PHC string of argon2id. */
  hash(password: string): Promise<string>;
  /**
   * Compares. Without a stored hash (nobody has that e-mail) a dummy is compared, which takes as long, and
   * the answer is no.
   */
  verify(password: string, stored: string | undefined): Promise<boolean>;
  /** True when the stored hash was made at another cost than today's. */
  isOutdated(stored: string): boolean;
}

/** Some four seconds of waiting at 20 ms a hash and two at once; who waits longer has given up. */
const standardMaxWaiting = 400;

/** Hashes and compares passwords with bounded concurrency. */
export async function createPasswords(options: PasswordsOptions): Promise<Passwords> {
  const { memoryKib, passes } = options.cost ?? productCost;
  const maxWaiting = options.maxWaiting ?? standardMaxWaiting;
  const limit = pLimit(options.parallel);
  // argon2id is the package's default; its enum is a const one, which type stripping cannot read.
  const settings = { memoryCost: memoryKib, timeCost: passes, parallelism: 1 };

  function inLine<T>(work: () => Promise<T>): Promise<T> {
    if (limit.pendingCount >= maxWaiting) {
      throw new Problem('overloaded', { detail: 'Too many people log in at this moment.', retryAfter: 2 });
    }
    return limit(work);
  }

  const bytesOf = (password: string) => Buffer.from(canonicalPassword(password), 'utf8');
  const dummy = await hash(randomBytes(32), settings);

  return {
    async hash(password) {
      const bytes = bytesOf(password);
      if (bytes.length > maxPasswordBytes) throw new RangeError('the password was not checked');
      return inLine(() => hash(bytes, settings));
    },
    async verify(password, stored) {
      const bytes = bytesOf(password);
      // Nobody has such a password; whether the e-mail exists does not matter here either.
      if (bytes.length > maxPasswordBytes) return false;
      const matches = await inLine(() => verify(stored ?? dummy, bytes));
      return stored !== undefined && matches;
    },
    isOutdated(stored) {
      const made = parseOptions(stored);
      return made.memoryCost !== memoryKib || made.timeCost !== passes || made.parallelism !== 1;
    },
  };
}
