import type { StandardRetryStrategy } from '@smithy/core/retry';

/** What the SDK asks before it repeats a request. */
export type Retries = Pick<
  StandardRetryStrategy,
  'mode' | 'acquireInitialRetryToken' | 'refreshRetryTokenForRetry' | 'recordSuccess'
>;
type RetryToken = Parameters<Retries['recordSuccess']>[0];

export interface RetryOptions {
  /** Times that a request is sent at most. */
  readonly attempts: number;
  /** Wait before the second; doubled each time. */
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
}

/**
 * Repeats what failed for the moment, each request for itself. The SDK's own strategy shares 35 retries among all
 * requests of a client and waits between nothing and the whole delay: with 24 uploads under way an outage of 2 s
 * failed 26 of 80. Here the sum of the waits is never below half of what it can be, and how much is repeated at once
 * is bounded by the sockets.
 */
export function createRetries({ attempts, firstDelayMs, longestDelayMs }: RetryOptions): Retries {
  return {
    mode: 'standard',
    acquireInitialRetryToken: () => Promise.resolve(tokenOf(0, 0)),
    refreshRetryTokenForRetry: async (token, { errorType, retryAfterHint }) => {
      const retries = token.getRetryCount() + 1;
      const transient = errorType === 'TRANSIENT' || errorType === 'THROTTLING';
      // The SDK throws its own error when there is no token; this text is never seen.
      if (!transient || retries >= attempts) throw new Error('no more retries');
      const full = Math.min(longestDelayMs, firstDelayMs * 2 ** (retries - 1));
      const hinted = retryAfterHint ? retryAfterHint.getTime() - Date.now() : 0;
      const delay = Math.max(full * (0.5 + Math.random() / 2), Math.min(hinted, longestDelayMs));
      return Promise.resolve(tokenOf(retries, Math.ceil(delay)));
    },
    recordSuccess: () => undefined,
  };
}

function tokenOf(retries: number, delayMs: number): RetryToken {
  return { getRetryCount: () => retries, getRetryDelay: () => delayMs, getRetryCost: () => undefined };
}
