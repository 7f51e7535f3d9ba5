import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { Api } from './api.js';
import { environment, freePort, run, startServer, temporaryFolder } from './running-server.js';

interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
}

it('no secret stands in logs, metrics, the audit log or the database', async () => {
  const folder = await temporaryFolder();
  const own = {
    MBK_JWT_SECRET: 'Y2FuYXJ5LWp3dC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg==',
    MBK_LINK_SECRET: 'Y2FuYXJ5LWxpbmstc2VjcmV0LTAxMjM0NTY3ODlhYmNkZWY=',
    MBK_METRICS_TOKEN: 'Y2FuYXJ5LW1ldHJpY3MtdG9rZW4tMDEyMzQ1Njc4OWFiYw==',
  };
  const settings = { dataFolder: folder.path, env: { ...own, LOG_LEVEL: 'debug' } };
  const server = await startServer(settings);
  const nobody = new Api(server.url);
  const email = 'canary@example.com';
  const password = 'canary-password-of-a-person';
  const made = await nobody.call<Tokens>('POST', '/auth/register', { email, password });
  expect(made.status).toBe(201);
  const me = new Api(server.url, { authorization: `Bearer ${made.body.accessToken}` });
  const project = await me.project();
  const key = (await me.call<{ key: string }>('POST', `/projects/${project}/keys`, { name: 'k' })).body.key;
  const invited = await me.call<{ token: string }>('POST', `/projects/${project}/invitations`, {
    role: 'viewer',
  });
  const server_ = await me.call<{ token: string }>('POST', '/users/invitations', {});
  const refreshed = await nobody.call<Tokens>('POST', '/auth/refresh', {
    refreshToken: made.body.refreshToken,
  });
  expect([invited.status, server_.status, refreshed.status]).toEqual([201, 201, 200]);
  const byKey = new Api(server.url, { 'x-api-key': key });
  const uploaded = await byKey.upload(project, 'a.txt', new TextEncoder().encode('hello'));
  expect(uploaded.status).toBe(201);
  // As people do by mistake, and as attackers do.
  const wrong = `${password}-mistyped`;
  expect((await nobody.call('POST', '/auth/login', { email, password: wrong })).status).toBe(401);
  await nobody.call('GET', `/projects/${project}?api_key=${key}`);
  await nobody.call('POST', '/auth/login', { email, password, unknown: key });
  const link = await me.call<{ url: string }>('POST', `/files/${uploaded.body.id}/links`, {});
  expect((await fetch(link.body.url)).status).toBe(200);

  const secrets = {
    ...own,
    password,
    wrong,
    key,
    invitation: invited.body.token,
    'invitation to the server': server_.body.token,
    'access token': made.body.accessToken,
    'refresh token': made.body.refreshToken,
    'access token after a refresh': refreshed.body.accessToken,
    'refresh token after a refresh': refreshed.body.refreshToken,
    'signature of a link': new URL(link.body.url).searchParams.get('sig') ?? '',
  };
  const metrics = await fetch(`${server.url}/metrics`, {
    headers: { authorization: `Bearer ${own.MBK_METRICS_TOKEN}` },
  });
  const audit = await fetch(`${server.url}/audit/export`, { headers: me.headers });
  expect([metrics.status, audit.status]).toEqual([200, 200]);
  const backup = join(folder.path, 'backup');
  expect(await run(['backup', '--to', backup], environment(settings, await freePort()))).toMatchObject({
    code: 0,
  });
  const tables = await Promise.all(
    (await readdir(join(backup, 'tables'))).map((name) => readFile(join(backup, 'tables', name), 'utf8')),
  );
  const places: Readonly<Record<string, string>> = {
    logs: server.output(),
    metrics: await metrics.text(),
    'the audit log': await audit.text(),
    'the database': tables.join('\n'),
  };
  // The places are the right ones: what is no secret is found there.
  expect(places['logs']).toContain('"route":"/auth/login"');
  expect(places['the audit log']).toContain('createKey');
  expect(places['the database']).toContain(email);
  for (const [place, text] of Object.entries(places)) {
    for (const [what, secret] of Object.entries(secrets)) {
      expect(secret.length, what).toBeGreaterThan(15);
      for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString('hex')]) {
        expect(text.includes(form), `${what} in ${place}`).toBe(false);
      }
    }
  }
  expect(await server.stop()).toBe(0);
  await folder.remove();
}, 120_000);
