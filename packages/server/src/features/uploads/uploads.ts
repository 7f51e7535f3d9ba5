import type { Routes } from '../../foundation/http/app.js';
import type { Outbound } from '../../foundation/http/outbound/outbound.js';
import type { Log } from '../../foundation/log.js';
import type { JobHandler, TimetableEntry } from '../../foundation/queue/define.js';
import type { Clock } from '../../foundation/clock.js';
import { trackUploads } from './active.js';
import { directRoutes } from './direct/routes.js';
import { createOwnSigner, createUploadSigner } from './direct/signer.js';
import { stagingRoutes } from './direct/staging/routes.js';
import type { VerifyOptions } from './direct/verify.js';
import { createVerifyHandler } from './direct/verify-job.js';
import { createImportHandler } from './import/attempt.js';
import { importRoutes } from './import/routes.js';
import { createTidyHandler, importTimetable, type TidyOptions } from './import/tidy.js';
import { uploadRoutes, type UploadRoutesOptions } from './routes.js';
import type { FinishOptions } from './tus/finish.js';
import { createFinishHandler } from './tus/finish-job.js';
import { tusRoutes } from './tus/routes.js';
import { createRunningHashes } from './tus/running-hashes.js';
import { createUploadLocks } from './tus/upload-lock.js';

export interface UploadsOptions extends Omit<UploadRoutesOptions, 'active'> {
  /** Milliseconds between two signs of life of an upload; 30 s when absent. */
  readonly heartbeatMs?: number;
  /** The secrets of signed addresses: the one that signs, then those that still verify. */
  readonly addressSecrets: readonly [string, ...string[]];
  /** Seconds that a signed address works. */
  readonly addressSeconds: number;
  readonly clock: Clock;
  /** Seconds without a byte after which an upload of several requests is given up. */
  readonly expirySeconds: number;
  readonly outbound: Pick<Outbound, 'checkUrl'>;
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
  const { limits, clock, publicUrl } = options;
  const own = createOwnSigner({ secrets: options.addressSecrets, publicUrl, clock });
  const direct = {
    ...options,
    maxBytes: limits.maxBytes,
    headProbeBytes: limits.headProbeBytes,
    signer: createUploadSigner(options.blobs, own, clock),
  };
  const mountDirect = directRoutes(direct);
  const mountImports = importRoutes(options);
  const mountStaging = stagingRoutes({ ...direct, own, pace: limits });
  return {
    routes: (app) => {
      mountUploads(app);
      mountTus(app);
      mountDirect(app);
      mountStaging(app);
      mountImports(app);
    },
    activeUploads: () => active.count(),
    close: async () => {
      await Promise.all([active.close(), locks.close()]);
    },
  };
}

export interface UploadWorkOptions extends FinishOptions, VerifyOptions, TidyOptions {
  readonly outbound: Outbound;
  /** Longest time of an attempt to import a file, in milliseconds. */
  readonly importTimeoutMs: number;
  /** Bytes by which the reservation of a file of unknown size grows. */
  readonly reserveStepBytes?: number | undefined;
  /** Milliseconds between two signs of life of an upload; 30 s when absent. */
  readonly heartbeatMs?: number | undefined;
  readonly log: Log;
}

export interface UploadWork {
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
  /** Aborts what is still under way and resolves when it has been given up. Stop the runner first. */
  close(): Promise<void>;
}

/** The part of the room that works in the background. */
export function createUploadWork(options: UploadWorkOptions): UploadWork {
  const { db, log, maxBytes, headProbeBytes, reserveStepBytes } = options;
  const active = trackUploads({ db, log, heartbeatMs: options.heartbeatMs ?? 30_000 });
  const imports = {
    ...options,
    limits: { maxBytes, headProbeBytes, reserveStepBytes },
    timeoutMs: options.importTimeoutMs,
    active,
  };
  return {
    handlers: [
      createFinishHandler(options),
      createVerifyHandler(options),
      createImportHandler(imports),
      createTidyHandler(options),
    ],
    timetable: [importTimetable],
    close: () => active.close(),
  };
}
