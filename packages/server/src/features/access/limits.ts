import type { FastifyReply, FastifyRequest } from 'fastify';

import type { App } from '../../foundation/http/app.js';
import type { Limiter, Standing } from '../../foundation/limits/limiter.js';
import { Problem } from '../../foundation/problems.js';

/** Who may ask how often; absent: as often as they like. */
export interface RequestLimits {
  /** Registration, resets, links of accounts: by address. Failed logins are counted apart, where they are judged. */
  readonly auth?: Limiter | undefined;
  /** Everything else: by person or key, and by address for those who are neither. */
  readonly caller?: Limiter | undefined;
  /** Everything that is about a project, whoever asks. */
  readonly project?: Limiter | undefined;
  /** Bytes: by address; counted by each process for itself. */
  readonly content?: Limiter | undefined;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** `auth`: counted with whatever lets people in. `none`: not at all; for probes. */
    limit?: 'auth' | 'none';
  }
}

/**
 * Counts requests that the guard has let through, before their bodies are read, and says in each answer how many more may
 * come (RateLimit header fields for HTTP, draft-ietf-httpapi-ratelimit-headers-10).
 *
 * Addresses are those of the connection, unless its proxy is trusted: what a client writes into a header changes nothing.
 */
export function limitRequests(app: App, limits: RequestLimits): void {
  app.addHook('onRequest', async (request, reply) => {
    // What no route fits costs nothing; what a browser asks before it asks is no request yet.
    if (request.is404 || request.method === 'OPTIONS') return;
    const standings: (Standing & { readonly name: string })[] = [];
    for (const { name, limiter, key } of countsOf(request, limits)) {
      standings.push({ name, ...(await limiter.take(key)) });
    }
    if (standings.length === 0) return;
    tell(reply, standings);
    const refused = standings.filter(({ allowed }) => !allowed);
    if (refused.length > 0) throw tooMany(refused);
  });
}

interface CountOf {
  readonly name: string;
  readonly limiter: Limiter;
  readonly key: string;
}

function countsOf(request: FastifyRequest, limits: RequestLimits): readonly CountOf[] {
  const { permission, limit } = request.routeOptions.config;
  if (limit === 'none') return [];
  if (limit === 'auth') return counted('auth', limits.auth, request.ip);
  if (permission === 'content:read') return counted('content', limits.content, request.ip);
  // Some plugin’s route, mounted before the guard.
  if (permission === undefined) return [];
  const { caller, projectId } = request.access;
  const who =
    caller.kind === 'user'
      ? `user ${caller.userId}`
      : caller.kind === 'key'
        ? `key ${caller.keyId}`
        : `address ${request.ip}`;
  return [
    ...counted('caller', limits.caller, who),
    ...(projectId === '' ? [] : counted('project', limits.project, projectId)),
  ];
}

function counted(name: string, limiter: Limiter | undefined, key: string): readonly CountOf[] {
  return limiter ? [{ name, limiter, key }] : [];
}

function tell(reply: FastifyReply, standings: readonly (Standing & { readonly name: string })[]): void {
  reply.header(
    'ratelimit-policy',
    standings.map(({ name, rate }) => `"${name}";q=${rate.points};w=${rate.seconds}`).join(', '),
  );
  reply.header(
    'ratelimit',
    standings
      .map(({ name, remaining, resetSeconds }) => `"${name}";r=${remaining};t=${resetSeconds}`)
      .join(', '),
  );
}

function tooMany(refused: readonly Standing[]): Problem {
  const retryAfter = Math.max(1, ...refused.map(({ resetSeconds }) => resetSeconds));
  return new Problem('too-many-requests', { retryAfter });
}
