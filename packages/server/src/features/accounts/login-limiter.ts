import { LRUCache } from 'lru-cache';

import type { Clock } from '../../foundation/clock.js';
import { Problem } from '../../foundation/problems.js';

export interface LoginLimits {
  /** Failures within the window from one address for one e-mail. */
  readonly perAccount: number;
  /** Failures within the window from one address for any e-mail. */
  readonly perAddress: number;
  readonly windowSeconds: number;
}

export const productLimits: LoginLimits = { perAccount: 10, perAddress: 200, windowSeconds: 900 };

/** Slows guessing down. Counts in this process only. */
export interface LoginLimiter {
  /**
   * Counts an attempt before it is judged, so that a hundred at once are no way around. `judge` tells whether
   * it succeeded: then the account's failures are forgotten. When it rejects, nothing was tried.
   *
   * @throws Problem `too-many-requests` when the address has failed too often.
   */
  attempt<T>(address: string, email: string, judge: () => Promise<T | undefined>): Promise<T | undefined>;
}

interface Count {
  attempts: number;
  readonly until: number;
}

/**
 * Counts by address, never by account alone: failures from elsewhere must not lock anybody out. An e-mail
 * counts whether or not somebody has it.
 */
export function createLoginLimiter(clock: Clock, limits: LoginLimits = productLimits): LoginLimiter {
  const counts = new LRUCache<string, Count>({ max: 20_000 });

  function countOf(key: string, now: number): Count {
    const found = counts.get(key);
    if (found && found.until > now) return found;
    const fresh = { attempts: 0, until: now + limits.windowSeconds * 1000 };
    counts.set(key, fresh);
    return fresh;
  }

  return {
    async attempt(address, email, judge) {
      const now = clock.now();
      const accountKey = `${address} ${email}`;
      const account = countOf(accountKey, now);
      const anywhere = countOf(address, now);
      const full = [
        ...(account.attempts >= limits.perAccount ? [account] : []),
        ...(anywhere.attempts >= limits.perAddress ? [anywhere] : []),
      ];
      if (full.length > 0) {
        throw new Problem('too-many-requests', {
          detail: 'Too many failed logins from this address.',
          retryAfter: (Math.max(...full.map(({ until }) => until)) - now) / 1000,
        });
      }
      account.attempts++;
      anywhere.attempts++;
      try {
        const found = await judge();
        if (found !== undefined) {
          counts.delete(accountKey);
          anywhere.attempts--;
        }
        return found;
      } catch (error) {
        account.attempts--;
        anywhere.attempts--;
        throw error;
      }
    },
  };
}
