import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, testPassword, type Member, type TestApi } from '../../../test/api.js';

let api: TestApi;
let admin: Member;
let owner: Member;
const lines: string[] = [];

beforeAll(async () => {
  api = await createTestApi({ onLogLine: (line) => lines.push(line) });
  admin = await api.register();
  owner = await api.register();
});
afterAll(() => api.close());

const call = (who: Member | undefined, method: string, path: string, body?: unknown, headers = {}) =>
  api.call(method, path, {
    ...(who ? { token: who.token } : {}),
    ...(body === undefined ? {} : { body }),
    headers,
  });
const auditOf = async (projectId: string): Promise<Record<string, unknown>[]> =>
  (await call(owner, 'GET', `/projects/${projectId}/audit`)).body.data as Record<string, unknown>[];

describe('a project’s audit log', () => {
  it('tells who did what to what, from where and with which credential', async () => {
    const projectId = await api.createProject(owner);
    const { id: keyId, key } = await api.createKey(owner, projectId, ['project:write']);
    await call(
      undefined,
      'PUT',
      `/projects/${projectId}`,
      { name: 'Renamed' },
      {
        'x-api-key': key,
        'user-agent': 'Camera/1',
        'x-request-id': 'request-12345678',
        'x-forwarded-for': '9.9.9.9',
      },
    );
    await call(owner, 'DELETE', `/projects/${projectId}/keys/${keyId}`);
    const entries = await auditOf(projectId);
    expect(entries).toMatchObject([
      { action: 'revokeKey', actorKind: 'user', actorId: owner.userId, targetKind: 'key', targetId: keyId },
      {
        action: 'changeProject',
        actorKind: 'key',
        actorId: keyId,
        targetId: projectId,
        status: 200,
        address: '127.0.0.1',
        userAgent: 'Camera/1',
        requestId: 'request-12345678',
      },
      { action: 'createKey', targetKind: 'key', targetId: keyId, status: 201 },
      { action: 'createProject', targetKind: 'project', targetId: projectId, projectId },
    ]);
    expect(entries[0]?.['sessionId']).toEqual(expect.any(String));
  });

  it('says nothing of what was only read, or refused', async () => {
    const projectId = await api.createProject(owner);
    await call(owner, 'GET', `/projects/${projectId}`);
    await call(admin, 'DELETE', `/projects/${projectId}`);
    await call(owner, 'PUT', `/projects/${projectId}`, { name: '' });
    expect((await auditOf(projectId)).map(({ action }) => action)).toEqual(['createProject']);
  });

  it('is for its owner, and exported as NDJSON', async () => {
    const projectId = await api.createProject(owner);
    for (let n = 0; n < 3; n++) await call(owner, 'PUT', `/projects/${projectId}`, { name: `Name ${n}` });
    const exported = await call(owner, 'GET', `/projects/${projectId}/audit/export`);
    expect(exported.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
    const rows = exported.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string; action: string });
    expect(rows.map(({ action }) => action)).toEqual([
      ...Array<string>(3).fill('changeProject'),
      'createProject',
    ]);
    const page = await call(owner, 'GET', `/projects/${projectId}/audit?limit=2`);
    const next = await call(
      owner,
      'GET',
      `/projects/${projectId}/audit?limit=2&cursor=${page.body.nextCursor}`,
    );
    expect([...page.ids, ...next.ids]).toEqual(rows.map(({ id }) => id));
    for (const path of ['audit', 'audit/export']) {
      expect(await call(admin, 'GET', `/projects/${projectId}/${path}`)).toMatchObject({ status: 404 });
    }
  });
});

describe('the server’s audit log', () => {
  it('tells administrators of logins, failed ones too, and of everything in projects', async () => {
    const { email } = owner;
    await call(undefined, 'POST', '/auth/login', { email, password: 'wrong-horse' });
    await call(undefined, 'POST', '/auth/login', { email, password: testPassword });
    const projectId = await api.createProject(owner);
    const { body } = await call(admin, 'GET', '/audit?limit=3');
    expect(body.data).toMatchObject([
      { action: 'createProject', projectId },
      { action: 'logIn', actorKind: 'user', actorId: owner.userId, status: 200, projectId: null },
      { action: 'logIn', actorKind: 'nobody', actorId: null, status: 401 },
    ]);
    for (const path of ['/audit', '/audit/export']) {
      expect(await call(owner, 'GET', path)).toMatchObject({ status: 403 });
      expect(await call(admin, 'GET', path)).toMatchObject({ status: 200 });
    }
  });

  it('cannot be changed, not even by us', async () => {
    const { pool } = api.database;
    for (const statement of [
      "UPDATE audit_log SET action = 'nothing'",
      'DELETE FROM audit_log',
      'TRUNCATE audit_log',
    ]) {
      await expect(pool.query(statement)).rejects.toThrow('append-only');
    }
  });
});

it('secrets are in no log line and no audit entry', async () => {
  const password = 'canary-Password-7719';
  const email = 'canary@example.com';
  const made = await call(undefined, 'POST', '/auth/register', { email, password });
  const who: Member = {
    email,
    userId: made.body.user.id,
    token: made.body.accessToken,
    refreshToken: made.body.refreshToken,
  };
  const projectId = await api.createProject(who);
  const { id, key } = await api.createKey(who, projectId, ['project:write']);
  const rotated = await call(who, 'POST', `/projects/${projectId}/keys/${id}/rotate`, { overlapSeconds: 60 });
  const invited = await call(who, 'POST', `/projects/${projectId}/invitations`, { role: 'viewer' });
  await call(admin, 'POST', '/invitations/accept', { token: invited.body.token });
  const reset = await call(admin, 'POST', `/users/${who.userId}/reset-link`);
  const server = await call(admin, 'POST', '/users/invitations', {});
  const factor = await call(who, 'POST', '/auth/second-factor', { password });
  const refreshed = await call(undefined, 'POST', '/auth/refresh', { refreshToken: who.refreshToken });
  await call(undefined, 'GET', `/projects/${projectId}?key=${key}`);
  await call(undefined, 'GET', `/projects/${projectId}`, undefined, {
    'x-api-key': `${key}x`,
    cookie: `mbk_refresh=${who.refreshToken}`,
  });
  await call(undefined, 'POST', '/auth/login', { email, password: `${password}-wrong` });
  await call(undefined, 'POST', '/auth/password-reset/confirm', {
    token: reset.body.token,
    password: `${password}-new`,
  });
  await call(who, 'GET', '/auth/me');

  const secrets = [
    password,
    who.token,
    who.refreshToken,
    key,
    rotated.body.key,
    invited.body.token,
    reset.body.token,
    server.body.token,
    factor.body.secret,
    refreshed.body.refreshToken,
    refreshed.body.accessToken,
  ] as string[];
  expect(secrets.every((secret) => typeof secret === 'string' && secret.length > 15)).toBe(true);
  const kept = (await call(admin, 'GET', '/audit/export')).text + lines.join('\n');
  expect(lines.length).toBeGreaterThan(10);
  for (const secret of secrets) expect(kept).not.toContain(secret);
});
