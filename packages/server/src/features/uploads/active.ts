import type { Db } from '../../foundation/database/connect.js';
import type { Log } from '../../foundation/log.js';
import { Problem } from '../../foundation/problems.js';
import { renewUploads, UploadLost } from '../files/intake-queries.js';
import { renewKeys, type HeldKey } from '../files/upload-key-queries.js';

/** One request's upload while it is under way. */
export interface ActiveUpload {
  /** Aborts when the upload fails, when cleanup took it for dead, or when the server stops. */
  readonly signal: AbortSignal;
  /** Rows it may have written, to be abandoned when it fails. */
  readonly opened: Set<string>;
  /** Rows that the heartbeat keeps alive. */
  readonly beating: Set<string>;
  /** Rows whose blob is being put. */
  readonly writing: Set<string>;
  /** The idempotency key it holds, which the heartbeat keeps too. */
  held: HeldKey | undefined;
  abort(reason: unknown): void;
  /** Called once, when nothing of it is left to do. */
  end(): void;
}

export interface ActiveUploads {
  begin(): ActiveUpload;
  count(): number;
  /** Aborts what is still under way and resolves when all of it has been given up. */
  close(): Promise<void>;
}

/** Knows the uploads of this process and tells the database that they are alive: one statement for all of them. */
export function trackUploads(options: {
  readonly db: Db;
  readonly log: Log;
  /** Milliseconds between two heartbeats; a fraction of the time after which cleanup takes an upload for dead. */
  readonly heartbeatMs: number;
}): ActiveUploads {
  const { db, log, heartbeatMs } = options;
  const active = new Set<ActiveUpload>();
  let idle = (): void => undefined;
  let closing = false;

  const beat = async (): Promise<void> => {
    const asked = new Set([...active].flatMap((upload) => [...upload.beating]));
    const attempts = new Set([...active].flatMap(({ held }) => (held ? [held.attempt] : [])));
    const alive = await renewUploads(db, [...asked]);
    const holding = await renewKeys(db, [...attempts]);
    for (const upload of active) {
      const attempt = upload.held?.attempt;
      if (attempt !== undefined && attempts.has(attempt) && !holding.has(attempt)) {
        upload.abort(new UploadLost('another request has taken the idempotency key over'));
      }
      // Rows opened since, or completed since, are in only one of the two sets.
      const lost = [...upload.beating].some((id) => asked.has(id) && !alive.has(id));
      if (lost) upload.abort(new UploadLost('the upload was given up by cleanup'));
    }
  };
  const timer = setInterval(() => {
    if (active.size === 0) return;
    beat().catch((error: unknown) => {
      // The next beat may succeed; cleanup waits for several that are missing.
      log.warn({ err: error }, 'uploads could not be renewed');
    });
  }, heartbeatMs);
  timer.unref();

  return {
    begin() {
      if (closing) throw stopping();
      const controller = new AbortController();
      const upload: ActiveUpload = {
        signal: controller.signal,
        opened: new Set(),
        beating: new Set(),
        writing: new Set(),
        held: undefined,
        abort: (reason) => controller.abort(reason),
        end() {
          active.delete(upload);
          if (active.size === 0) idle();
        },
      };
      active.add(upload);
      return upload;
    },
    count: () => active.size,
    async close() {
      closing = true;
      clearInterval(timer);
      if (active.size === 0) return;
      const ended = new Promise<void>((resolve) => {
        idle = resolve;
      });
      for (const upload of active) upload.abort(stopping());
      await ended;
    },
  };
}

function stopping(): Problem {
  return new Problem('service-unavailable', { detail: 'The server is stopping.', retryAfter: 5 });
}
