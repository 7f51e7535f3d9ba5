import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { loadConfig } from '../src/config.js';
import { openBlobStore } from '../src/foundation/blobs/open.js';
import type { Database } from '../src/foundation/database/connect.js';
import type { App } from '../src/foundation/http/app.js';
import { createLog } from '../src/foundation/log.js';
import { createMetrics } from '../src/foundation/metrics.js';
import { createClosers, type Kit } from '../src/kit.js';
import { mountApi } from '../src/web.js';
import { createTestDatabase } from './database.js';
import { decoderEntry } from './fixtures/imaging.js';

/** A route as it was mounted, hidden ones and those that the framework adds included. */
export interface MountedRoute {
  readonly method: string;
  /** With parameters as `{name}`, as OpenAPI writes them. */
  readonly path: string;
  readonly permission: string;
  readonly operationId: string | undefined;
  /** Stands in no document. */
  readonly hidden: boolean;
}

/** The whole API as the product builds it, on a database and a folder of its own; nothing listens, no job runs. */
export interface RealApp {
  readonly app: App;
  readonly database: Database;
  readonly routes: readonly MountedRoute[];
  /** Log lines of level error and above. */
  readonly errors: Record<string, unknown>[];
  close(): Promise<void>;
}

/** The secret that access tokens are signed with, so that tests can make expired ones. */
export const accessSecret = 'NU0wGh6fUe+2dAbkfqXcgp3Z8zT1vJp5mAySH3kPWmE=';
/** What `GET /metrics` asks for. */
export const metricsToken = 'kV0d3r7h1Yb9LkQmZ2xTq8nJc5sWf4uGp6aHe7iRoXI=';

/** @param env further settings, as in the environment. */
export async function openRealApp(env: Readonly<Record<string, string>> = {}): Promise<RealApp> {
  const folder = await mkdtemp(join(tmpdir(), 'mbk-real-app-'));
  const test = await createTestDatabase();
  const settings = loadConfig({
    env: {
      MBK_DATA_FOLDER: folder,
      MBK_JWT_SECRET: accessSecret,
      MBK_LINK_SECRET: 'b2F7mC9xQw4Zt6LpR1vYk8sHd3NjGe5uAi0TfXoVrKE=',
      MBK_METRICS_TOKEN: metricsToken,
      // Mail is only ordered here; a worker would send it.
      MBK_SMTP_URL: 'smtp://localhost:1',
      MBK_MAIL_FROM: 'server@example.com',
      // Suites ask thousands of times from one address.
      MBK_LOGIN_RATE: 'none',
      MBK_AUTH_RATE: 'none',
      MBK_API_RATE: 'none',
      MBK_PROJECT_RATE: 'none',
      ...env,
    },
    cwd: folder,
  });
  const errors: Record<string, unknown>[] = [];
  const log = await createLog({
    level: 'error',
    pretty: false,
    destination: { write: (line: string) => void errors.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const blobs = await openBlobStore({ backend: 'disk', folder: join(folder, 'blobs'), log });
  const kit: Kit = {
    settings,
    log,
    database: test.database,
    directUrl: test.url,
    blobs,
    metrics: createMetrics(),
    allocator: () => Promise.resolve({}),
    decoderEntry: await decoderEntry(),
    ...createClosers(log),
  };
  kit.opened(() => rm(folder, { recursive: true, force: true }));
  kit.opened(() => test.close());
  kit.opened(() => blobs.close());
  const routes: MountedRoute[] = [];
  const { app, rooms } = await mountApi(kit, [
    (mounted) => {
      mounted.addHook('onRoute', ({ method, url, config, schema }) => {
        for (const one of [method].flat()) {
          routes.push({
            method: one,
            path: url.replace(/:(\w+)/g, '{$1}'),
            permission: config?.permission ?? '',
            operationId: schema?.operationId,
            hidden: schema?.hide === true,
          });
        }
      });
    },
  ]);
  kit.opened(() => rooms.uploads.close());
  kit.openedDoor(() => app.close());
  return { app, database: test.database, routes, errors, close: () => kit.close() };
}
