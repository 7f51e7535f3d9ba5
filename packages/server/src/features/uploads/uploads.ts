import type { Routes } from '../../foundation/http/app.js';
import { trackUploads } from './active.js';
import { uploadRoutes, type UploadRoutesOptions } from './routes.js';

export interface UploadsOptions extends Omit<UploadRoutesOptions, 'active'> {
  /** Milliseconds between two signs of life of an upload; 30 s when absent. */
  readonly heartbeatMs?: number;
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
  const active = trackUploads({
    db: options.db,
    log: options.log,
    heartbeatMs: options.heartbeatMs ?? 30_000,
  });
  return {
    routes: uploadRoutes({ ...options, active }),
    activeUploads: () => active.count(),
    close: () => active.close(),
  };
}
