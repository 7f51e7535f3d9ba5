import type { Limiter } from '../../foundation/limits/limiter.js';
import { Problem } from '../../foundation/problems.js';

/** Where failed logins are counted; absent: nowhere. */
export interface LoginLimits {
  /** Failures from one address for one e-mail. */
  readonly account?: Limiter | undefined;
  /** Failures from one address for any e-mail. */
  readonly address?: Limiter | undefined;
}

/** Slows guessing down. */
export interface LoginLimiter {
  /**
   * Counts an attempt before it is judged, so that a hundred at once are no way around. `judge` tells whether
   * it succeeded: then the account's failures are forgotten. When it rejects, nothing was tried.
   *
   * @throws Problem `too-many-requests` when the address has failed too often.
   */
  attempt<T>(address: string, email: string, judge: () => Promise<T | undefined>): Promise<T | undefined>;
}

/**
 * Counts by address, never by account alone: failures from elsewhere must not lock anybody out. An e-mail
 * counts whether or not somebody has it.
 */
export function createLoginLimiter({ account, address: anywhere }: LoginLimits): LoginLimiter {
  return {
    async attempt(address, email, judge) {
      const counts = [
        ...(account ? [{ limiter: account, key: `${address} ${email}`, forgiving: true }] : []),
        ...(anywhere ? [{ limiter: anywhere, key: address, forgiving: false }] : []),
      ];
      const giveBack = async (taken: typeof counts): Promise<void> => {
        await Promise.all(taken.map(({ limiter, key }) => limiter.giveBack(key)));
      };
      for (const [n, { limiter, key }] of counts.entries()) {
        const { allowed, resetSeconds } = await limiter.take(key);
        if (allowed) continue;
        await giveBack(counts.slice(0, n));
        throw new Problem('too-many-requests', {
          detail: 'Too many failed logins from this address.',
          retryAfter: Math.max(1, resetSeconds),
        });
      }
      let found: Awaited<ReturnType<typeof judge>>;
      try {
        found = await judge();
      } catch (error) {
        await giveBack(counts);
        throw error;
      }
      if (found !== undefined) {
        await Promise.all(
          counts.map(({ limiter, key, forgiving }) =>
            forgiving ? limiter.forget(key) : limiter.giveBack(key),
          ),
        );
      }
      return found;
    },
  };
}
