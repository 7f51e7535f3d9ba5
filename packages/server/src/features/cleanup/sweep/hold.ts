import type { Db } from '../../../foundation/database/connect.js';
import { releaseSweep, renewSweep, type HeldSweep } from './state-queries.js';

/**
 * Runs `work` while the sweep is held; the signal aborts when it is lost. When the work fails the sweep is let go of,
 * so that whoever comes next continues it.
 */
export async function whileHeld<T>(
  db: Db,
  sweep: HeldSweep,
  { leaseSeconds, signal }: { readonly leaseSeconds: number; readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lost = new AbortController();
  let renewing: Promise<void> | undefined;
  const timer = setInterval(
    () => {
      renewing ??= renewSweep(db, sweep, leaseSeconds)
        .catch((error: unknown) => lost.abort(error))
        .finally(() => (renewing = undefined));
    },
    (leaseSeconds * 1000) / 3,
  );
  try {
    return await work(AbortSignal.any([signal, lost.signal]));
  } catch (error) {
    clearInterval(timer);
    await renewing;
    // Without the database nobody can be told; the lease runs out by itself.
    await releaseSweep(db, sweep).catch(() => undefined);
    throw error;
  } finally {
    clearInterval(timer);
    await renewing;
  }
}
