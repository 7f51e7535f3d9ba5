import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { openRealApp, type RealApp } from './real-app.js';

let real: RealApp;
let token: string | undefined;
let project: string;
let key: string;

const settings = { corsOrigins: ['https://gallery.example.org'] };

async function open(env: Readonly<Record<string, string>>): Promise<void> {
  real = await openRealApp(env);
  token = undefined;
  const { accessToken } = (
    await post('/auth/register', { email: 'ada@example.org', password: 'correct-horse-battery-9' })
  ).json<{ accessToken: string }>();
  token = accessToken;
  project = (await post('/projects', { name: 'p', settings })).json<{ id: string }>().id;
  const rules = { name: 'k', scopes: ['files:create'], allowedOrigins: ['https://form.example.org'] };
  key = (await post(`/projects/${project}/keys`, rules)).json<{ id: string }>().id;
}
afterEach(() => real.close());

function post(url: string, payload: object) {
  return real.app.inject({
    method: 'POST',
    url,
    payload,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
}

describe('pages of other origins', () => {
  beforeEach(() => open({ MBK_CORS_ORIGINS: 'https://admin.example.org' }));

  const preflight = (url: string, origin: string) =>
    real.app.inject({
      method: 'OPTIONS',
      url,
      headers: { origin, 'access-control-request-method': 'PATCH' },
    });
  /** Whose pages may ask, of a path. */
  const allowed = async (url: string, origin: string): Promise<boolean> =>
    (await preflight(url, origin)).headers['access-control-allow-origin'] === origin;

  it('may ask where the server, the project, or a key in force lets them', async () => {
    const upload = `/projects/${project}/upload`;
    const [admin, gallery, form, other] = ['admin', 'gallery', 'form', 'other'].map(
      (name) => `https://${name}.example.org`,
    ) as [string, string, string, string];
    for (const origin of [admin, gallery, form]) expect(await allowed(upload, origin)).toBe(true);
    expect(await allowed(upload, other)).toBe(false);
    expect(await allowed('/projects', admin)).toBe(true);
    expect(await allowed('/projects', gallery)).toBe(false);

    const sent = await real.app.inject({
      method: 'POST',
      url: `${upload}?filename=a.txt`,
      payload: 'hello',
      headers: { 'content-type': 'text/plain', authorization: `Bearer ${token}`, origin: gallery },
    });
    expect(sent.statusCode).toBe(201);
    expect(sent.headers).toMatchObject({ 'access-control-allow-origin': gallery, vary: 'Origin' });
    expect(String(sent.headers['access-control-expose-headers'])).toContain('Upload-Offset');
    const file = `/files/${sent.json<{ files?: { id: string }[]; id: string }>().id}`;
    expect(await allowed(file, gallery)).toBe(true);
    expect(await allowed(file, other)).toBe(false);
  });

  it('may not any more when the key is revoked or the project in the trash', async () => {
    const path = `/projects/${project}/tus`;
    const auth = { authorization: `Bearer ${token}` };
    await real.app.inject({ method: 'DELETE', url: `/projects/${project}/keys/${key}`, headers: auth });
    expect(await allowed(path, 'https://form.example.org')).toBe(false);
    await real.app.inject({ method: 'DELETE', url: `/projects/${project}`, headers: auth });
    expect(await allowed(path, 'https://gallery.example.org')).toBe(false);
  });

  it('learn the same of a project that does not exist as of one that does not let them', async () => {
    const ask = async (id: string) => {
      const { statusCode, headers, body } = await preflight(`/projects/${id}`, 'https://other.example.org');
      const requestId = String(headers['x-request-id']);
      const rest = { ...headers, date: undefined, 'x-request-id': undefined };
      return { statusCode, rest, body: body.replace(requestId, '') };
    };
    const unknown = '0190ffff-ffff-7fff-bfff-ffffffffffff';
    expect(await ask(project)).toEqual(await ask(unknown));
  });

  it('with * anybody’s may', async () => {
    await real.app.inject({
      method: 'PUT',
      url: `/projects/${project}`,
      headers: { authorization: `Bearer ${token}` },
      payload: { settings: { corsOrigins: ['*'] } },
    });
    expect(await allowed(`/projects/${project}`, 'https://whoever.example.org')).toBe(true);
  });
});

describe('the limits of the settings', () => {
  beforeEach(() => open({ MBK_API_RATE: '20/1m', MBK_AUTH_RATE: '2/1m', MBK_LOGIN_RATE: '2/1m' }));

  it('are in force on the whole API', async () => {
    const me = () => real.app.inject({ url: '/auth/me', headers: { authorization: `Bearer ${token}` } });
    const first = await me();
    expect(first.headers['ratelimit-policy']).toBe('"caller";q=20;w=60');
    const codes = new Set<number>();
    for (let n = 0; n < 20; n += 1) codes.add((await me()).statusCode);
    expect([...codes].sort()).toEqual([200, 429]);
    expect((await real.app.inject('/livez')).statusCode).toBe(200);

    const register = (n: number) =>
      post('/auth/register', { email: `${n}@example.org`, password: 'correct-horse-battery-9' });
    // The scene's own account was the first.
    expect((await register(2)).statusCode).toBe(201);
    expect((await register(3)).statusCode).toBe(429);

    const logIn = (password: string) => post('/auth/login', { email: 'ada@example.org', password });
    for (const status of [401, 401, 429]) expect((await logIn('wrong-horse')).statusCode).toBe(status);
    expect((await logIn('correct-horse-battery-9')).statusCode).toBe(429);
  });
});
