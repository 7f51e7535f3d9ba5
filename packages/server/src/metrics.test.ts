import { expect, it } from 'vitest';

import { createApp } from './foundation/http/app.js';
import { createLog } from './foundation/log.js';
import { createMetrics } from './foundation/metrics.js';
import { metricsRoutes } from './metrics.js';

const token = 'a token that only Prometheus knows, of 32 bytes';

async function open(given: string | undefined) {
  const app = createApp({ log: await createLog({ level: 'silent', pretty: false }), trustedProxies: [] });
  const metrics = createMetrics();
  metrics.counter('things_total', 'Things.', ['kind']).inc({ kind: 'odd' }, 3);
  metricsRoutes({ metrics, token: given })(app);
  return (authorization?: string) =>
    app.inject({ url: '/metrics', headers: authorization === undefined ? {} : { authorization } });
}

it('are text for whoever has the token', async () => {
  const answer = await (await open(token))(`Bearer ${token}`);
  expect(answer.statusCode).toBe(200);
  expect(answer.headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(answer.body).toContain('mediablobkit_things_total{kind="odd"} 3');
});

it.each([undefined, '', 'Bearer', `Bearer ${token}x`, token, `Basic ${token}`])(
  'are refused to %s',
  async (authorization) => {
    const answer = await (await open(token))(authorization);
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([401, 'unauthenticated']);
  },
);

it('are not there without a token', async () => {
  expect((await (await open(undefined))(`Bearer ${token}`)).statusCode).toBe(404);
});
