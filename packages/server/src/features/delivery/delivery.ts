import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import type { ProjectSettings } from '../projects/settings.js';
import type { VariantRequests } from '../variants/variants.js';
import { linkRoutes } from './link-routes.js';
import type { Links } from './links.js';
import { createPlaceholders } from './placeholder.js';
import { contentRoutes } from './routes.js';
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
}

/** Builds the room that sends bytes out. */
export function createDelivery({ links, publicUrl, maxLinkSeconds, ...options }: DeliveryOptions): {
  readonly routes: Routes;
} {
  const settings = createSettingsCache();
  const mountContent = contentRoutes({
    ...options,
    urls: createUrls(publicUrl, links),
    placeholders: createPlaceholders(),
    settings,
  });
  const mountLinks = linkRoutes({ db: options.db, links, settings, maxSeconds: maxLinkSeconds });
  return {
    routes: (app) => {
      mountContent(app);
      mountLinks(app);
    },
  };
}
