import Type from 'typebox';

import type { Routes } from './foundation/http/app.js';

/** One thing that the process cannot work without. */
export interface Dependency {
  readonly name: string;
  /** Rejects when it cannot be used now. */
  check(): Promise<void>;
}

export interface HealthOptions {
  readonly version: string;
  readonly dependencies: readonly Dependency[];
  /** True once the process has begun to stop. */
  readonly stopping: () => boolean;
}

/** A probe that hangs is a probe that failed; load balancers ask every few seconds. */
const probeTimeoutMs = 2_000;

const Report = Type.Object({
  status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable'), Type.Literal('stopping')]),
  version: Type.String(),
  checks: Type.Record(Type.String(), Type.Union([Type.Literal('ok'), Type.Literal('unavailable')])),
});

/**
 * `/livez`: the process answers. `/readyz` and `/healthz`: it can also do its work, else 503 — the database
 * and the store answered just now, and the process is not stopping.
 */
export function healthRoutes({ version, dependencies, stopping }: HealthOptions): Routes {
  return (app) => {
    const quiet = { config: { permission: 'anyone', limit: 'none' }, logLevel: 'warn' } as const;
    app.get(
      '/livez',
      {
        ...quiet,
        schema: {
          operationId: 'getLiveness',
          summary: 'Is the process alive?',
          tags: ['health'],
          response: { 200: Report },
        },
      },
      async () => ({ status: 'ok' as const, version, checks: {} }),
    );
    for (const path of ['/readyz', '/healthz']) {
      app.get(
        path,
        {
          ...quiet,
          schema: {
            operationId: path === '/readyz' ? 'getReadiness' : 'getHealth',
            summary: 'Can the process do its work?',
            tags: ['health'],
            response: { 200: Report, 503: Report },
          },
        },
        async (request, reply) => {
          const results = await Promise.all(
            dependencies.map(async (dependency) => {
              const { name } = dependency;
              try {
                await withinTime(dependency.check());
                return [name, 'ok'] as const;
              } catch (error) {
                request.log.warn({ err: error, dependency: name }, 'a dependency is not available');
                return [name, 'unavailable'] as const;
              }
            }),
          );
          const broken = results.some(([, result]) => result !== 'ok');
          const status = stopping() ? 'stopping' : broken ? 'unavailable' : 'ok';
          return reply
            .code(status === 'ok' ? 200 : 503)
            .send({ status, version, checks: Object.fromEntries(results) });
        },
      );
    }
  };
}

async function withinTime(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${probeTimeoutMs} ms`)), probeTimeoutMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
