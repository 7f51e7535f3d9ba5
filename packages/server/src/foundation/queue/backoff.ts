/** How long a failed job waits before its next attempt. */
export interface Backoff {
  /** Upper bound after the first attempt. */
  readonly firstSeconds: number;
  /** By which the bound grows with each attempt. */
  readonly factor: number;
  /** The bound never grows beyond this. */
  readonly longestSeconds: number;
}

/** Five attempts span up to 200 s, 100 s on average: a store or database that restarts is outlasted. */
export const standardBackoff: Backoff = { firstSeconds: 5, factor: 3, longestSeconds: 3600 };

/**
 * Seconds to wait after the n-th attempt: exponential with full jitter, because jobs that failed together (the
 * store was down) must not come back together.
 * @param random in [0, 1)
 */
export function backoffSeconds(attempt: number, backoff: Backoff, random: number): number {
  const bound = Math.min(backoff.longestSeconds, backoff.firstSeconds * backoff.factor ** (attempt - 1));
  return bound * random;
}
