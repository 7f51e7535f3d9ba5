import cors from '@fastify/cors';
import swagger from '@fastify/swagger';

import type { Identify } from './features/access/caller.js';
import { guardRoutes } from './features/access/guard.js';
import type { Db } from './foundation/database/connect.js';
import { createApp, type App, type AppOptions, type Routes } from './foundation/http/app.js';
import { describeApi } from './foundation/http/openapi.js';

export interface WebOptions extends AppOptions {
  readonly db: Db;
  readonly version: string;
  readonly publicUrl: string;
  /** Origins whose pages may call the API; `*` for all. None by default. */
  readonly corsOrigins: readonly string[];
  /** The kinds of credential, in the order they are asked. */
  readonly identify: readonly Identify[];
  /** Every room's routes. */
  readonly routes: readonly Routes[];
}

/** What a browser may send; tus and Uppy need the long list. */
const allowedHeaders = [
  'Authorization',
  'Content-Type',
  'Content-Disposition',
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
];
/** What a page may read of an answer. */
const exposedHeaders = [
  'ETag',
  'Link',
  'Location',
  'Retry-After',
  'X-Request-Id',
  'Content-Disposition',
  'Content-Range',
  'Accept-Ranges',
  'X-Variant-Fallback',
];

/** Mounts every room's routes on one HTTP application, behind the guard. */
export async function buildWeb(options: WebOptions): Promise<App> {
  const app = createApp(options);
  await app.register(swagger, describeApi({ version: options.version, publicUrl: options.publicUrl }));
  if (options.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: options.corsOrigins.includes('*') ? '*' : [...options.corsOrigins],
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      allowedHeaders,
      exposedHeaders,
      maxAge: 600,
    });
  }
  // From here on a route without a permission is refused; what the two plugins mounted above is theirs.
  guardRoutes(app, options);
  for (const routes of options.routes) routes(app);
  app.get('/openapi.json', { config: { permission: 'anyone' }, schema: { hide: true } }, async () =>
    app.swagger(),
  );
  await app.ready();
  return app;
}
