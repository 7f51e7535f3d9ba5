import { LRUCache } from 'lru-cache';
import { RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible';

import type { Database } from '../database/connect.js';

/** So many in any window of so many seconds that begins with the first. */
export interface Rate {
  readonly points: number;
  readonly seconds: number;
}

/** Where somebody stands after having asked for one more. */
export interface Standing {
  readonly allowed: boolean;
  readonly rate: Rate;
  /** How many more may come in this window; a little less than the truth while several processes share it. */
  readonly remaining: number;
  /** Seconds until the window ends. */
  readonly resetSeconds: number;
}

/** Counts by key within windows of time. */
export interface Limiter {
  readonly rate: Rate;
  /** Counts one more, unless it would be one too many. Rejects with the database's error. */
  take(key: string): Promise<Standing>;
  /** Uncounts one that did not happen. */
  giveBack(key: string): Promise<void>;
  /** Begins anew. */
  forget(key: string): Promise<void>;
}

export interface SharedLimiterOptions {
  readonly pool: Pick<Database['pool'], 'query'>;
  /** Unique among the limiters on one table. */
  readonly name: string;
  readonly rate: Rate;
  /**
   * How many a process takes from the database at once and hands out by itself: a hundredth of the rate costs a hundredth
   * of the statements, and a window loses at most that many for each process. 1 by default: each is counted at once.
   */
  readonly atOnce?: number;
}

/** Table of all shared limiters; unlogged, since after a crash of the database everybody may begin anew. */
const tableName = 'rate_limits';
/** Keys that a process remembers; who is forgotten asks the database anew. */
const remembered = 20_000;

interface Lot {
  left: number;
  remaining: number;
  readonly until: number;
}

/** One count for all processes of the installation. */
export function createSharedLimiter({ pool, name, rate, atOnce = 1 }: SharedLimiterOptions): Limiter {
  const counts = new RateLimiterPostgres({
    // Names of prepared statements do not go through every pooler.
    storeClient: {
      query: ({ text, values }: { text: string; values: unknown[] }) => pool.query(text, values),
    },
    storeType: 'client',
    tableName,
    tableCreated: true,
    clearExpiredByTimeout: false,
    keyPrefix: name,
    points: rate.points,
    duration: rate.seconds,
  });
  const lots = new LRUCache<string, Lot>({ max: remembered });
  const asked = new Map<string, Promise<Lot>>();

  /** Asks the database for some more; one request of a process at a time for each key. */
  const fetchLot = (key: string): Promise<Lot> => {
    const present = asked.get(key);
    if (present) return present;
    const fetching = (async () => {
      const { allowed, remaining, until } = await consume(counts, key, atOnce);
      const lot = { left: allowed ? atOnce : 0, remaining, until };
      lots.set(key, lot);
      return lot;
    })().finally(() => asked.delete(key));
    asked.set(key, fetching);
    return fetching;
  };

  return {
    rate,
    async take(key) {
      if (atOnce === 1) {
        const { allowed, remaining, until } = await consume(counts, key, 1);
        return { allowed, rate, remaining, resetSeconds: secondsTo(until) };
      }
      for (;;) {
        let lot = lots.get(key);
        if (!lot || lot.until <= Date.now() || (lot.left === 0 && lot.remaining > 0))
          lot = await fetchLot(key);
        const allowed = lot.left > 0;
        if (allowed) lot.left -= 1;
        // Others of this process were quicker; there may be more.
        else if (lot.remaining > 0 && lot.until > Date.now()) continue;
        return { allowed, rate, remaining: lot.left + lot.remaining, resetSeconds: secondsTo(lot.until) };
      }
    },
    async giveBack(key) {
      await counts.reward(key, 1);
    },
    async forget(key) {
      lots.delete(key);
      await counts.delete(key);
    },
  };
}

/** A count of this process only: for what happens thousands of times a second. */
export function createLocalLimiter({ rate }: { readonly rate: Rate }): Limiter {
  const counts = new RateLimiterMemory({ points: rate.points, duration: rate.seconds });
  return {
    rate,
    async take(key) {
      const { allowed, remaining, until } = await consume(counts, key, 1);
      return { allowed, rate, remaining, resetSeconds: secondsTo(until) };
    },
    async giveBack(key) {
      await counts.reward(key, 1);
    },
    async forget(key) {
      await counts.delete(key);
    },
  };
}

async function consume(
  counts: RateLimiterPostgres | RateLimiterMemory,
  key: string,
  points: number,
): Promise<{ readonly allowed: boolean; readonly remaining: number; readonly until: number }> {
  try {
    const { remainingPoints, msBeforeNext } = await counts.consume(key, points);
    return { allowed: true, remaining: remainingPoints, until: Date.now() + msBeforeNext };
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal;
    return { allowed: false, remaining: 0, until: Date.now() + refusal.msBeforeNext };
  }
}

function secondsTo(until: number): number {
  return Math.max(0, Math.ceil((until - Date.now()) / 1000));
}
