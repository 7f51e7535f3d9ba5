import cors from '@fastify/cors';
import swagger from '@fastify/swagger';

import type { Identify } from './features/access/caller.js';
import { guardRoutes, type GuardOptions } from './features/access/guard.js';
import { limitRequests, type RequestLimits } from './features/access/limits.js';
import { accessChannel } from './features/access/notices.js';
import { createAllowedOrigins, type AllowsOrigin } from './features/access/origins.js';
import { recordRequests } from './features/audit/recorder.js';
import { deliveryChannel } from './features/delivery/changes.js';
import { hasUsers } from './features/accounts/queries.js';
import type { Db } from './foundation/database/connect.js';
import { listen } from './foundation/database/listen.js';
import { createApp, type App, type AppOptions, type Routes } from './foundation/http/app.js';
import { describeApi } from './foundation/http/openapi.js';
import { healthRoutes } from './health.js';
import { metricsRoutes } from './metrics.js';
import { buildApi, type ApiRooms, type Kit } from './kit.js';
import { requestLimits } from './kit/room-options.js';
import { translateError } from './translate-error.js';
import { version } from './version.js';

export interface WebOptions extends AppOptions {
  readonly db: Db;
  readonly publicUrl: string;
  /** Origins whose pages may call the API; `*` for all. None by default. */
  readonly corsOrigins: readonly string[];
  /** The same for the paths of a project that says so itself. */
  readonly allowsOrigin: AllowsOrigin;
  /** The kinds of credential, in the order they are asked. */
  readonly identify: readonly Identify[];
  readonly findContentTarget?: GuardOptions['findContentTarget'];
  readonly limits: RequestLimits;
  /** Every room's routes. */
  readonly routes: readonly Routes[];
}

/** What a browser may send; tus and Uppy need the long list. */
const allowedHeaders = [
  'Authorization',
  'Content-Type',
  'Content-Disposition',
  'Content-Digest',
  'Range',
  'If-Match',
  'If-None-Match',
  'Idempotency-Key',
  'Prefer',
  'X-Request-Id',
  'X-API-Key',
  'traceparent',
  'tracestate',
  'X-Requested-With',
  'X-HTTP-Method-Override',
  'Tus-Resumable',
  'Upload-Length',
  'Upload-Offset',
  'Upload-Metadata',
  'Upload-Defer-Length',
  'Upload-Concat',
  'Upload-Checksum',
];
/** What a page may read of an answer. */
const exposedHeaders = [
  'ETag',
  'Link',
  'Location',
  'Retry-After',
  'RateLimit',
  'RateLimit-Policy',
  'X-Request-Id',
  'Content-Disposition',
  'Content-Range',
  'Accept-Ranges',
  'X-Variant-Fallback',
  'Idempotency-Replayed',
  'Tus-Resumable',
  'Tus-Version',
  'Tus-Extension',
  'Tus-Max-Size',
  'Tus-Checksum-Algorithm',
  'Upload-Offset',
  'Upload-Length',
  'Upload-Metadata',
  'Upload-Expires',
  'X-File-Id',
];

const corsRules = {
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
  allowedHeaders,
  exposedHeaders,
  maxAge: 600,
  // Else an OPTIONS that is no preflight gets a sentence in plain text.
  strictPreflight: false,
};

/** What the CORS plugin is to answer a page of the origin: its own, everybody, or nothing. */
async function corsOf(
  { corsOrigins, allowsOrigin }: Pick<WebOptions, 'corsOrigins' | 'allowsOrigin'>,
  path: string,
  origin: string | undefined,
): Promise<string | false> {
  if (corsOrigins.includes('*')) return '*';
  if (origin === undefined) return false;
  return corsOrigins.includes(origin) || (await allowsOrigin(path, origin)) ? origin : false;
}

/** Mounts every room's routes on one HTTP application, behind the guard. */
export async function buildWeb(options: WebOptions): Promise<App> {
  const app = createApp(options);
  await app.register(swagger, describeApi({ version, publicUrl: options.publicUrl }));
  await app.register(cors, {
    delegator: (request, done) => {
      corsOf(options, request.url, request.headers.origin).then(
        (origin) => done(null, { ...corsRules, origin }),
        (error: unknown) => done(error as Error, undefined),
      );
    },
  });
  // From here on a route without a permission is refused; what the two plugins mounted above is theirs.
  guardRoutes(app, options);
  limitRequests(app, options.limits);
  recordRequests(app, { db: options.db, log: options.log });
  for (const routes of options.routes) routes(app);
  app.get('/openapi.json', { config: { permission: 'anyone' }, schema: { hide: true } }, async () =>
    app.swagger(),
  );
  await app.ready();
  return app;
}

/** The open door. */
export interface Web {
  readonly app: App;
  /** Whether anybody has registered yet. */
  anybody(): Promise<boolean>;
}

/**
 * Builds the API's rooms and mounts their routes; nothing listens yet.
 * @param first is called before any route is mounted, and so sees all of them.
 */
export async function mountApi(
  kit: Kit,
  first: readonly Routes[] = [],
): Promise<{ readonly app: App; readonly rooms: ApiRooms }> {
  const { settings, log, database, blobs } = kit;
  const rooms = await buildApi(kit);
  const health = healthRoutes({
    version,
    dependencies: [
      { name: 'database', check: () => database.check() },
      { name: 'store', check: () => blobs.check() },
    ],
    stopping: () => kit.stopping(),
  });
  const metrics = metricsRoutes({ metrics: rooms.metrics, token: settings.metricsToken });
  const app = await buildWeb({
    log,
    db: database.db,
    publicUrl: settings.publicUrl,
    trustedProxies: settings.trustProxy,
    corsOrigins: settings.corsOrigins,
    allowsOrigin: createAllowedOrigins(database.db),
    identify: rooms.identify,
    findContentTarget: rooms.findContentTarget,
    limits: requestLimits(settings, database.pool),
    accessLog: settings.accessLog,
    translateError,
    routes: [...first, health, metrics, ...rooms.routes],
  });
  return { app, rooms };
}

/** Opens the door to the API. */
export async function openWeb(kit: Kit): Promise<Web> {
  const { settings, log, database } = kit;
  const { app, rooms } = await mountApi(kit);
  const channels = [
    [deliveryChannel, 'delivery', rooms.onDeliveryNotice],
    [accessChannel, 'access', rooms.onAccessNotice],
  ] as const;
  for (const [channel, name, onNotice] of channels) {
    const applicationName = `mediablobkit ${name}`;
    const listener = listen({ url: kit.directUrl, channel, applicationName, log, onNotice });
    kit.opened(() => listener.close());
  }
  kit.openedDoor(async () => {
    const giveUp = setTimeout(() => {
      rooms.uploads
        .close()
        .catch((error: unknown) => log.error({ err: error }, 'uploads did not end'))
        // Downloads, and requests that wait for a variant.
        .finally(() => app.server.closeAllConnections());
    }, settings.shutdownTimeoutMs);
    // Resolves when the last request has been answered, or cut off.
    await app.close();
    clearTimeout(giveUp);
    await rooms.uploads.close();
  });
  await app.listen({ host: settings.host, port: settings.port });
  return { app, anybody: () => hasUsers(database.db) };
}
