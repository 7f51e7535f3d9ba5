import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import type { Metrics } from '../../foundation/metrics.js';
import type { ProjectSettings } from '../projects/settings.js';
import type { VariantRequests } from '../variants/variants.js';
import { linkRoutes } from './link-routes.js';
import type { Links } from './links.js';
import { createLentBuffers } from './lent-buffers.js';
import { createPlaceholders } from './placeholder.js';
import { createBlobMemory } from './blob-memory.js';
import { contentRoutes } from './routes.js';
import { createPresignedUrls } from './presigned.js';
import { createRowCache } from './row-cache.js';
import { createSettingsCache } from './settings-cache.js';
import { createUrls } from './urls.js';

export interface DeliveryOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly links: Links;
  readonly variants: VariantRequests;
  readonly clock: Clock;
  /** How projects whose delivery mode is `auto` are served; itself `auto`: redirect when the store can. */
  readonly mode: ProjectSettings['delivery']['mode'];
  /** Longest time in seconds that `?wait=` holds a request. */
  readonly maxWaitSeconds: number;
  /** Longest time in seconds that somebody may ask a link to work. */
  readonly maxLinkSeconds: number;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
  /** Where they reach public files by way of a CDN in front of it. */
  readonly cdnUrl?: string | undefined;
  /** Bytes of small blobs kept in memory; none when absent. */
  readonly memoryBytes?: number;
  /** Compare whole answers with the row's SHA-256 while they are sent. */
  readonly verifyReads?: boolean;
  /** Path under which a proxy in front (nginx) reads the blobs itself. */
  readonly accelPrefix?: string | undefined;
  readonly metrics: Metrics;
}

export interface Delivery {
  readonly routes: Routes;
  /** Forgets what is remembered of a file, after the commit that changed it; of all when no id is given. */
  forget(fileId?: string): void;
}

/** Builds the room that sends bytes out. */
export function createDelivery({
  links,
  publicUrl,
  cdnUrl,
  maxLinkSeconds,
  metrics,
  ...options
}: DeliveryOptions): Delivery {
  const { db, memoryBytes = 0, verifyReads = false, accelPrefix } = options;
  const settings = createSettingsCache();
  const rows = createRowCache({ db });
  const faults = metrics.counter(
    'blob_faults_total',
    'Answers whose bytes could not be sent as their row promises.',
    ['kind'],
  );
  const mountContent = contentRoutes({
    ...options,
    urls: createUrls({ base: publicUrl, cdn: cdnUrl }, links),
    placeholders: createPlaceholders(),
    settings,
    rows,
    memory: createBlobMemory(memoryBytes),
    buffers: createLentBuffers(),
    presigned: createPresignedUrls(options.blobs),
    onFault: (kind) => faults.inc({ kind }),
    verify: verifyReads,
    behindCdn: cdnUrl !== undefined,
    accelPrefix,
  });
  const mountLinks = linkRoutes({ db: options.db, links, settings, maxSeconds: maxLinkSeconds });
  return {
    routes: (app) => {
      mountContent(app);
      mountLinks(app);
    },
    forget: (fileId) => (fileId === undefined ? rows.forgetAll() : rows.forget(fileId)),
  };
}
