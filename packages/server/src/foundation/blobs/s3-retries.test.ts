import { describe, expect, it } from 'vitest';
import { createRetries } from './s3-retries.js';

describe('the retries of a request', () => {
  const options = { attempts: 6, firstDelayMs: 300, longestDelayMs: 5_000 };

  const waits = async (errorType: 'TRANSIENT' | 'THROTTLING', hint?: number): Promise<number[]> => {
    const retries = createRetries(options);
    let token = await retries.acquireInitialRetryToken('');
    const delays: number[] = [];
    try {
      while (delays.length < 100) {
        token = await retries.refreshRetryTokenForRetry(token, {
          errorType,
          ...(hint !== undefined && { retryAfterHint: new Date(Date.now() + hint) }),
        });
        expect(token.getRetryCount()).toBe(delays.length + 1);
        delays.push(token.getRetryDelay());
      }
    } catch {
      // That was the last.
    }
    return delays;
  };

  it('are five, and never over before 4.6 s', async () => {
    for (let n = 0; n < 50; n += 1) {
      const delays = await waits('TRANSIENT');
      expect(delays).toHaveLength(5);
      const sum = delays.reduce((total, delay) => total + delay, 0);
      expect(sum).toBeGreaterThanOrEqual(4_650);
      expect(sum).toBeLessThanOrEqual(9_305);
    }
  });

  it('do not run out because other requests are repeated too', async () => {
    const retries = createRetries(options);
    const first = await retries.acquireInitialRetryToken('');
    for (let n = 0; n < 1_000; n += 1) {
      await expect(
        retries.refreshRetryTokenForRetry(first, { errorType: 'TRANSIENT' }),
      ).resolves.toBeDefined();
    }
  });

  it('wait as long as the server asks, within bounds', async () => {
    expect(Math.min(...(await waits('THROTTLING', 2_000)))).toBeGreaterThan(1_900);
    expect(Math.max(...(await waits('THROTTLING', 600_000)))).toBeLessThanOrEqual(5_000);
  });

  it.each(['CLIENT_ERROR', 'SERVER_ERROR'] as const)('are none after a %s', async (errorType) => {
    const retries = createRetries(options);
    const token = await retries.acquireInitialRetryToken('');
    await expect(retries.refreshRetryTokenForRetry(token, { errorType })).rejects.toThrow();
  });
});
