import type { Db } from '../../../foundation/database/connect.js';
import { newId } from '../../../foundation/ids.js';
import type { Log } from '../../../foundation/log.js';
import { Problem } from '../../../foundation/problems.js';
import type { UploadRow } from '../../files/upload-queries.js';
import { releaseLock, renewLocks, takeLock, wantLock } from './queries.js';

/** Exclusive use of one upload. */
export interface HeldUpload {
  /** Who holds it; every write of progress names it, so that one who lost it writes nothing. */
  readonly holder: string;
  /** The row as it was when the lock was taken. */
  readonly row: UploadRow;
  /** Aborts when somebody else wants the upload, when the lock was lost, or when the server stops. */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

export interface UploadLocks {
  /**
   * Takes the upload, asking whoever holds it to let go: a client whose network broke comes back while the server
   * still waits for the bytes of its old connection.
   * @returns undefined when there is no such upload.
   * @throws Problem `upload-locked` when the holder does not let go in time.
   */
  take(projectId: string, uploadId: string): Promise<HeldUpload | undefined>;
  /** Asks every holder in this process to let go, and resolves when all have. */
  close(): Promise<void>;
}

/** A lock whose process died is free after this; renewed every third of it. */
const leaseSeconds = 10;
const renewMs = (leaseSeconds * 1000) / 3;
/** How long a newcomer waits: a dead holder's lease and what a living one needs to put its bytes away. */
const patienceMs = 15_000;
const pollMs = 200;

/** The reason with which a holder is asked to let go. */
export class UploadWanted extends Error {
  override readonly name = 'UploadWanted';
}

/**
 * Locks in the rows of the uploads: they need no connection that is held, and work behind transaction poolers. All
 * those of a process are renewed by one statement.
 */
export function createUploadLocks({ db, log }: { readonly db: Db; readonly log: Log }): UploadLocks {
  const held = new Map<string, { readonly holder: string; readonly controller: AbortController }>();
  let closing = false;
  let idle = (): void => undefined;

  const renew = async (): Promise<void> => {
    const asked = [...held];
    const renewed = await renewLocks(
      db,
      asked.map(([, { holder }]) => holder),
      leaseSeconds,
    );
    for (const [, { holder, controller }] of asked) {
      const state = renewed.get(holder);
      if (state === undefined) controller.abort(new UploadWanted('the lock was lost'));
      else if (state.wanted) controller.abort(new UploadWanted('another request has come for the upload'));
    }
  };
  const timer = setInterval(() => {
    if (held.size === 0) return;
    renew().catch((error: unknown) => {
      // The lease lasts for two more tries; then somebody else may take the upload, and writes here are refused.
      log.warn({ err: error }, 'locks of uploads could not be renewed');
    });
  }, renewMs);
  timer.unref();

  const hold = (row: UploadRow, holder: string): HeldUpload => {
    const controller = new AbortController();
    held.set(row.id, { holder, controller });
    if (closing) controller.abort(stopping());
    return {
      holder,
      row,
      signal: controller.signal,
      async release() {
        if (held.get(row.id)?.holder === holder) held.delete(row.id);
        if (held.size === 0) idle();
        await releaseLock(db, row.id, holder).catch((error: unknown) => {
          // It runs out by itself.
          log.warn({ err: error, uploadId: row.id }, 'the lock of an upload could not be released');
        });
      },
    };
  };

  return {
    async take(projectId, uploadId) {
      const holder = newId();
      const deadline = performance.now() + patienceMs;
      while (true) {
        if (closing) throw stopping();
        const taken = await takeLock(db, { projectId, uploadId, holder, leaseSeconds });
        if (taken === 'absent') return undefined;
        if (taken !== 'held') return hold(taken, holder);
        // One of this process hears it now, one of another with its next renewal.
        held.get(uploadId)?.controller.abort(new UploadWanted('another request has come for the upload'));
        await wantLock(db, uploadId, holder);
        if (performance.now() > deadline) {
          throw new Problem('upload-locked', { retryAfter: 2 });
        }
        await new Promise((resolve) => setTimeout(resolve, pollMs));
      }
    },
    async close() {
      closing = true;
      clearInterval(timer);
      if (held.size === 0) return;
      const ended = new Promise<void>((resolve) => {
        idle = resolve;
      });
      for (const { controller } of held.values()) controller.abort(stopping());
      await ended;
    },
  };
}

function stopping(): Problem {
  return new Problem('service-unavailable', { detail: 'The server is stopping.', retryAfter: 5 });
}
