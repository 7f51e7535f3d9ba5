import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import { createApp, type App } from '../../foundation/http/app.js';
import { newId } from '../../foundation/ids.js';
import { createLocalLimiter, createSharedLimiter, type Limiter } from '../../foundation/limits/limiter.js';
import { createLog } from '../../foundation/log.js';
import type { Caller } from './caller.js';
import { limitRequests, type RequestLimits } from './limits.js';

let testDatabase: TestDatabase;
beforeAll(async () => {
  testDatabase = await createTestDatabase({ poolSize: 10 });
});
afterAll(() => testDatabase.close());

const shared = (name: string, points: number, atOnce = 1, seconds = 60): Limiter =>
  createSharedLimiter({ pool: testDatabase.database.pool, name, rate: { points, seconds }, atOnce });

describe('a limiter of several processes', () => {
  it.each([1, 10])(
    'lets in exactly as many as the rate says, %i from the database at once',
    async (atOnce) => {
      const name = newId();
      const processes = [shared(name, 100, atOnce), shared(name, 100, atOnce), shared(name, 100, atOnce)];
      const answers = await Promise.all(
        Array.from({ length: 100 }, () => processes.map((limiter) => limiter.take('somebody'))).flat(),
      );
      expect(answers.filter(({ allowed }) => allowed)).toHaveLength(100);
      const [one] = processes;
      expect(await one?.take('somebody')).toMatchObject({ allowed: false, remaining: 0 });
      expect(await one?.take('somebody else')).toMatchObject({ allowed: true, rate: { points: 100 } });
    },
  );

  it('asks the database once for what it takes at once', async () => {
    let asked = 0;
    const { pool } = testDatabase.database;
    const limiter = createSharedLimiter({
      pool: {
        query: ((...args: Parameters<typeof pool.query>) => {
          asked += 1;
          return pool.query(...args);
        }) as typeof pool.query,
      },
      name: newId(),
      rate: { points: 1_000, seconds: 60 },
      atOnce: 10,
    });
    for (let n = 0; n < 100; n += 1) {
      expect(await limiter.take('a')).toMatchObject({ allowed: true, remaining: 999 - n });
    }
    expect(asked).toBe(10);
  });

  it('begins anew when its window is over', async () => {
    const limiter = shared(newId(), 4, 2, 3);
    for (let n = 0; n < 4; n += 1) expect((await limiter.take('a')).allowed).toBe(true);
    const { allowed, resetSeconds } = await limiter.take('a');
    expect(allowed).toBe(false);
    expect(resetSeconds).toBeGreaterThan(0);
    expect(resetSeconds).toBeLessThanOrEqual(3);
    await expect.poll(async () => (await limiter.take('a')).allowed, { timeout: 10_000 }).toBe(true);
  });
});

describe('requests', () => {
  const callers: Readonly<Record<string, Caller>> = {
    ada: { kind: 'user', userId: 'ada', sessionId: 's', role: 'user' },
    key: { kind: 'key', keyId: 'key', projectId: 'p', scopes: [] },
  };

  /** An application whose callers say who they are. */
  async function open(limits: RequestLimits, trustedProxies: readonly string[] = []): Promise<App> {
    const log = await createLog({ level: 'silent', pretty: false });
    const app = createApp({ log, trustedProxies });
    app.decorateRequest('access');
    app.addHook('onRequest', async (request) => {
      const { who, project = '' } = request.query as { who?: string; project?: string };
      request.access = {
        caller: callers[who ?? ''] ?? { kind: 'nobody' },
        projectId: project,
        fileId: '',
        role: undefined,
        visibility: 'private',
      };
    });
    limitRequests(app, limits);
    app.get('/api', { config: { permission: 'project:read' } }, async () => 'ok');
    app.get('/bytes', { config: { permission: 'content:read' } }, async () => 'ok');
    app.get('/login', { config: { permission: 'anyone', limit: 'auth' } }, async () => 'ok');
    app.get('/livez', { config: { permission: 'anyone', limit: 'none' } }, async () => 'ok');
    return app;
  }
  const local = (points: number) => createLocalLimiter({ rate: { points, seconds: 60 } });

  it('say how many more may come, and when it is over, 429', async () => {
    const app = await open({ caller: local(2), project: local(100) });
    const first = await app.inject('/api?who=ada&project=p');
    expect(first.headers).toMatchObject({
      'ratelimit-policy': '"caller";q=2;w=60, "project";q=100;w=60',
      ratelimit: '"caller";r=1;t=60, "project";r=99;t=60',
    });
    await app.inject('/api?who=ada&project=p');
    const third = await app.inject('/api?who=ada&project=p');
    expect(third.statusCode).toBe(429);
    expect(third.json()).toMatchObject({ code: 'too-many-requests', status: 429 });
    expect(Number(third.headers['retry-after'])).toBeGreaterThan(50);
    expect(third.headers['ratelimit']).toContain('"caller";r=0');
    for (const who of ['key', 'nobody']) expect((await app.inject(`/api?who=${who}`)).statusCode).toBe(200);
    expect((await app.inject('/livez')).headers['ratelimit']).toBeUndefined();
    await app.close();
  });

  it('of all are counted for the project', async () => {
    const app = await open({ project: local(2) });
    for (const who of ['ada', 'key']) await app.inject(`/api?who=${who}&project=p`);
    expect((await app.inject('/api?project=p')).statusCode).toBe(429);
    expect((await app.inject('/api?project=q')).statusCode).toBe(200);
    await app.close();
  });

  it('for bytes, for accounts and for the rest are counted apart', async () => {
    const app = await open({ auth: local(1), caller: local(1), content: local(1) });
    for (const path of ['/api', '/bytes', '/login']) {
      expect((await app.inject(path)).statusCode).toBe(200);
      expect((await app.inject(path)).statusCode).toBe(429);
    }
    for (let n = 0; n < 3; n += 1) expect((await app.inject('/livez')).statusCode).toBe(200);
    for (let n = 0; n < 3; n += 1) expect((await app.inject('/nowhere')).statusCode).toBe(404);
    await app.close();
  });

  it('are those of their connection, whatever header they send; behind a trusted proxy of whom it names', async () => {
    const from = (address: string) => ({ url: '/login', headers: { 'x-forwarded-for': address } });
    const plain = await open({ auth: local(1) });
    expect((await plain.inject(from('9.9.9.1'))).statusCode).toBe(200);
    expect((await plain.inject(from('9.9.9.2'))).statusCode).toBe(429);
    await plain.close();
    const behind = await open({ auth: local(1) }, ['127.0.0.1']);
    expect((await behind.inject(from('9.9.9.1'))).statusCode).toBe(200);
    expect((await behind.inject(from('9.9.9.2'))).statusCode).toBe(200);
    expect((await behind.inject(from('9.9.9.2'))).statusCode).toBe(429);
    await behind.close();
  });
});
