import { createHash, timingSafeEqual } from 'node:crypto';

import Type from 'typebox';

import type { Routes } from './foundation/http/app.js';
import type { Metrics } from './foundation/metrics.js';
import { Problem } from './foundation/problems.js';

export interface MetricsOptions {
  readonly metrics: Metrics;
  /** Whoever sends it as a bearer token may read them; nobody when undefined. */
  readonly token: string | undefined;
}

/** `GET /metrics`: what this process counts, in the text format of Prometheus. Without a token there is no such path. */
export function metricsRoutes({ metrics: { registry }, token }: MetricsOptions): Routes {
  return (app) => {
    if (token === undefined) return;
    const expected = digestOf(`Bearer ${token}`);
    app.get(
      '/metrics',
      {
        // The token is its credential: it belongs to no person and no project.
        config: { permission: 'anyone', limit: 'none' },
        logLevel: 'warn',
        schema: {
          operationId: 'getMetrics',
          summary: 'What this process counts, for Prometheus',
          tags: ['health'],
          response: {
            200: { description: 'Text of Prometheus.', content: { 'text/plain': { schema: Type.String() } } },
          },
        },
      },
      async (request, reply) => {
        const given = digestOf(request.headers.authorization ?? '');
        if (!timingSafeEqual(given, expected)) throw new Problem('unauthenticated');
        return reply.header('content-type', registry.contentType).send(await registry.metrics());
      },
    );
  };
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
