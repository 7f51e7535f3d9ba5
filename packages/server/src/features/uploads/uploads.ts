import type { Routes } from '../../foundation/http/app.js';
import type { JobHandler } from '../../foundation/queue/define.js';
import { trackUploads } from './active.js';
import { uploadRoutes, type UploadRoutesOptions } from './routes.js';
import type { FinishOptions } from './tus/finish.js';
import { createFinishHandler } from './tus/finish-job.js';
import { tusRoutes } from './tus/routes.js';
import { createRunningHashes } from './tus/running-hashes.js';
import { createUploadLocks } from './tus/upload-lock.js';

export interface UploadsOptions extends Omit<UploadRoutesOptions, 'active'> {
  /** Milliseconds between two signs of life of an upload; 30 s when absent. */
  readonly heartbeatMs?: number;
  /** Seconds without a byte after which an upload of several requests is given up. */
  readonly expirySeconds: number;
}

export interface Uploads {
  readonly routes: Routes;
  /** Requests that are sending files now. */
  activeUploads(): number;
  /**
   * Aborts the uploads that are still under way and resolves when what they left has been given up. Close the
   * application first, with a time limit: it lets them end.
   */
  close(): Promise<void>;
}

/** Bytes in. */
export function createUploads(options: UploadsOptions): Uploads {
  const { db, log } = options;
  const active = trackUploads({ db, log, heartbeatMs: options.heartbeatMs ?? 30_000 });
  const locks = createUploadLocks({ db, log });
  const mountUploads = uploadRoutes({ ...options, active });
  const mountTus = tusRoutes({ ...options, locks, hashes: createRunningHashes() });
  return {
    routes: (app) => {
      mountUploads(app);
      mountTus(app);
    },
    activeUploads: () => active.count(),
    close: async () => {
      await Promise.all([active.close(), locks.close()]);
    },
  };
}

/** The part of the room that works in the background. */
export function createUploadWork(options: FinishOptions): { readonly handlers: readonly JobHandler[] } {
  return { handlers: [createFinishHandler(options)] };
}
