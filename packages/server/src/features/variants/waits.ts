import type { Db } from '../../foundation/database/connect.js';
import type { Log } from '../../foundation/log.js';
import { Problem } from '../../foundation/problems.js';
import { statesOf } from './queries.js';

export interface WaitsOptions {
  readonly db: Db;
  readonly log: Log;
  /** Requests held at once by this process; one more is refused. */
  readonly maxWaiters: number;
  /** Milliseconds between two looks at the database when nobody tells of a change. */
  readonly pollMs: number;
}

export interface Waits {
  /**
   * Resolves once the variant is settled (`ready` or `failed`, or its row is gone) with true, or after
   * `milliseconds`, when `signal` aborts, or at `close()`, with false.
   * @throws Problem overloaded when too many wait already.
   */
  settled(fileId: string, name: string, milliseconds: number, signal: AbortSignal): Promise<boolean>;
  /** The file has changed (undefined: any may have): whether somebody waits for just that is looked at once. */
  changed(fileId: string | undefined): void;
  /** Requests being held now. */
  readonly size: number;
  /** Lets all go; later ones do not wait at all. */
  close(): void;
}

interface Waiter {
  readonly fileId: string;
  readonly name: string;
  readonly end: (settled: boolean) => void;
}

/**
 * Holds requests until their variants are there. One poller serves all of them with one query, so a thousand
 * waiters cost the database what one costs; while nobody waits there is no timer at all.
 */
export function createWaits({ db, log, maxWaiters, pollMs }: WaitsOptions): Waits {
  const waiters = new Set<Waiter>();
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  /** A change was told during a look, which may have read what was before it. */
  let again = false;

  const schedule = (): void => {
    if (looking || timer !== undefined || waiters.size === 0) return;
    timer = setTimeout(() => void look(), again ? 0 : pollMs);
    again = false;
  };
  // Never rejects: a failed look is logged and the next one tries again.
  const look = async (): Promise<void> => {
    timer = undefined;
    looking = true;
    try {
      const asked = [...waiters];
      const wanted = new Map(asked.map(({ fileId, name }) => [`${fileId}/${name}`, { fileId, name }]));
      const rows = await statesOf(db, [...wanted.values()]);
      const open = new Set(
        rows
          .filter(({ status }) => status === 'pending' || status === 'rendering')
          .map(({ file_id, name }) => `${file_id}/${name}`),
      );
      for (const waiter of asked) if (!open.has(`${waiter.fileId}/${waiter.name}`)) waiter.end(true);
    } catch (error) {
      log.warn({ err: error }, 'could not look whether awaited variants are there');
    } finally {
      looking = false;
      schedule();
    }
  };

  return {
    changed(fileId) {
      if (![...waiters].some((waiter) => fileId === undefined || waiter.fileId === fileId)) return;
      clearTimeout(timer);
      timer = undefined;
      again = true;
      schedule();
    },
    get size() {
      return waiters.size;
    },
    settled(fileId, name, milliseconds, signal) {
      if (closed || milliseconds <= 0 || signal.aborted) return Promise.resolve(false);
      if (waiters.size >= maxWaiters) {
        throw new Problem('overloaded', { detail: 'Too many requests wait for variants.', retryAfter: 2 });
      }
      return new Promise((resolve) => {
        const abort = (): void => waiter.end(false);
        const deadline = setTimeout(abort, milliseconds);
        const waiter: Waiter = {
          fileId,
          name,
          end(settled) {
            clearTimeout(deadline);
            signal.removeEventListener('abort', abort);
            waiters.delete(waiter);
            if (waiters.size === 0) {
              clearTimeout(timer);
              timer = undefined;
              again = false;
            }
            resolve(settled);
          },
        };
        waiters.add(waiter);
        signal.addEventListener('abort', abort, { once: true });
        schedule();
      });
    },
    close() {
      closed = true;
      for (const waiter of [...waiters]) waiter.end(false);
    },
  };
}
