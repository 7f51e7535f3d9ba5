import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../test/api.js';
import { newId } from '../../foundation/ids.js';
import { newKey } from './key-text.js';

let api: TestApi;
let owner: Member;
let stranger: Member;
let project: string;
let foreignProject: string;
const lines: string[] = [];

beforeAll(async () => {
  api = await createTestApi({ onLogLine: (line) => lines.push(line) });
  owner = await api.register();
  stranger = await api.register();
  project = await api.createProject(owner);
  foreignProject = await api.createProject(stranger);
});
afterAll(() => api.close());

const make = (body: unknown, token = owner.token) =>
  api.call('POST', `/projects/${project}/keys`, { token, body });
const list = (id = project, token = owner.token) => api.call('GET', `/projects/${id}/keys`, { token });
const revoke = (keyId: string, id = project, token = owner.token) =>
  api.call('DELETE', `/projects/${id}/keys/${keyId}`, { token });
const readProject = (request: { token?: string; headers?: Record<string, string> }, on = api) =>
  on.call('GET', `/projects/${project}`, request);
const lastUse = async (id: string) => {
  const { rows } = await api.database.pool.query<{ last_used_at: Date | null }>(
    'SELECT last_used_at FROM api_keys WHERE id = $1',
    [id],
  );
  return rows[0]?.last_used_at ?? null;
};

describe('making a key', () => {
  it('shows it once and keeps only its hash', async () => {
    const { status, body } = await make({ name: ' Camera ' });
    expect(status).toBe(201);
    expect(body).toEqual({
      id: expect.any(String),
      name: 'Camera',
      prefix: String(body.key).slice(0, 10),
      scopes: ['files:read', 'files:create'],
      enabled: true,
      createdBy: owner.userId,
      createdAt: expect.stringMatching(/Z$/),
      lastUsedAt: null,
      lastUsedAddress: null,
      expiresAt: null,
      previousUntil: null,
      allowedOrigins: null,
      allowedAddresses: null,
      maxFileBytes: null,
      maxFiles: null,
      allowedTypes: null,
      key: expect.stringMatching(/^mbk_[0-9A-Za-z]{36}$/),
    });
    const { key, ...shown } = body;
    const listed = await list();
    expect(listed.body.data).toContainEqual(shown);
    expect(listed.text).not.toContain(key);
    const { rows } = await api.database.pool.query("SELECT *, encode(hash, 'escape') AS text FROM api_keys");
    expect(JSON.stringify(rows)).not.toContain(key);
    expect(lines.join('')).not.toContain(key);
  });

  it.each([
    [{}, '/name'],
    [{ name: '' }, '/name'],
    [{ name: 'a\u0000' }, '/name'],
    [{ name: 'a', scopes: [] }, '/scopes'],
    [{ name: 'a', scopes: ['files:everything'] }, '/scopes/0'],
    [{ name: 'a', scopes: ['files:read', 'files:read'] }, '/scopes'],
    [{ name: 'a', scopes: 'files:read' }, '/scopes'],
    [{ name: 'a', scopes: ['keys:manage'] }, '/scopes/0'],
    [{ name: 'a', expiresAt: 'tomorrow' }, '/expiresAt'],
    [{ name: 'a', expiresAt: '2020-01-01T00:00:00Z' }, '/expiresAt'],
    [{ name: 'a', expiresAt: '2099-12-31T23:59:60Z' }, '/expiresAt'],
    [{ name: 'a', expiresAt: null }, '/expiresAt'],
    [{ name: 'a', allowedOrigins: ['https://a.example/'] }, '/allowedOrigins/0'],
    [{ name: 'a', allowedOrigins: ['*'] }, '/allowedOrigins/0'],
    [{ name: 'a', allowedOrigins: [] }, '/allowedOrigins'],
    [{ name: 'a', allowedAddresses: ['10.0.0.0/33'] }, '/allowedAddresses/0'],
    [{ name: 'a', allowedAddresses: ['example.com'] }, '/allowedAddresses/0'],
    [{ name: 'a', allowedTypes: ['png'] }, '/allowedTypes/0'],
    [{ name: 'a', maxFiles: 0 }, '/maxFiles'],
    [{ name: 'a', maxFileBytes: 1.5 }, '/maxFileBytes'],
    [{ name: 'a', hash: 'x' }, '/hash'],
    [{ name: 'a', projectId: newId() }, '/projectId'],
  ])('%j is refused', async (body, pointer) => {
    const before = (await list()).body.data.length;
    const answer = await make(body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid-request' } });
    expect(answer.pointers).toContain(pointer);
    expect((await list()).body.data).toHaveLength(before);
  });

  it('is nothing that a key can do, whatever its scopes', async () => {
    const all = [
      'files:read',
      'files:create',
      'files:write',
      'files:delete',
      'project:read',
      'project:write',
    ];
    const { id, key } = await api.createKey(owner, project, all);
    expect(await make({ name: 'wider' }, key)).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    expect(await list(project, key)).toMatchObject({ status: 403 });
    expect(await revoke(id, project, key)).toMatchObject({ status: 403 });
  });
});

describe('using a key', () => {
  it('works as bearer token and in its own header, and never in the URL', async () => {
    const { key } = await api.createKey(owner, project, ['project:read']);
    expect(await readProject({ token: key })).toMatchObject({ status: 200 });
    expect(await readProject({ headers: { authorization: `BEARER ${key}` } })).toMatchObject({ status: 200 });
    expect(await readProject({ headers: { 'x-api-key': key } })).toMatchObject({ status: 200 });
    for (const name of ['key', 'api_key', 'apiKey', 'X-API-Key', 'token']) {
      const answer = await api.call('GET', `/projects/${project}?${name}=${key}`);
      expect(answer).toMatchObject({ status: 401, body: { detail: expect.stringContaining('URL') } });
    }
  });

  it('is refused alike when it is unknown, mistyped, expired or revoked', async () => {
    const unknown = await readProject({ token: newKey() });
    expect(unknown).toMatchObject({
      status: 401,
      body: { code: 'unauthenticated' },
      headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
    });
    const expired = await api.createKey(owner, project, ['project:read']);
    await api.database.pool.query("UPDATE api_keys SET expires_at = now() - interval '1 ms' WHERE id = $1", [
      expired.id,
    ]);
    const revoked = await api.createKey(owner, project, ['project:read']);
    await revoke(revoked.id);
    for (const key of [expired.key, revoked.key, `${revoked.key}x`, 'mbk_', 'mbk_x']) {
      expect(await readProject({ token: key })).toMatchObject({ status: 401, text: unknown.text });
      expect(await readProject({ headers: { 'x-api-key': key } })).toMatchObject({
        status: 401,
        text: unknown.text,
      });
    }
    expect(await readProject({ headers: { 'x-api-key': 'rubbish' } })).toMatchObject({ status: 401 });
  });

  it('opens its own project only, with the scopes it has', async () => {
    const { key } = await api.createKey(owner, project);
    expect(await readProject({ token: key })).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    const never = await api.call('GET', `/projects/${newId()}`, { token: key });
    expect(await api.call('GET', `/projects/${foreignProject}`, { token: key })).toMatchObject({
      status: 404,
      text: never.text,
    });
    const reader = await api.createKey(owner, project, ['project:read']);
    expect(
      await api.call('PUT', `/projects/${project}`, { token: reader.key, body: { name: 'x' } }),
    ).toMatchObject({ status: 403 });
    expect(await api.call('GET', '/auth/me', { token: reader.key })).toMatchObject({ status: 403 });
  });

  it('is noted at most once a minute, and never in the way', async () => {
    const { id, key } = await api.createKey(owner, project, ['project:read']);
    await readProject({ token: key });
    const first = await vi.waitUntil(() => lastUse(id));
    expect(Math.abs(first.getTime() - Date.now())).toBeLessThan(60_000);
    // Another process meets the same minute: the row does not change.
    const other = await createTestApi({ beside: api });
    try {
      expect(await readProject({ token: key }, other)).toMatchObject({ status: 200 });
    } finally {
      await other.close();
    }
    expect(await lastUse(id)).toEqual(first);
    await api.database.pool.query(
      "UPDATE api_keys SET last_used_at = now() - interval '1 hour' WHERE id = $1",
      [id],
    );
    api.clock.advance(61_000);
    await readProject({ token: key });
    const second = await vi.waitUntil(async () => {
      const use = await lastUse(id);
      return use && use >= first ? use : null;
    });
    expect(second.getTime()).toBeGreaterThanOrEqual(first.getTime());
    expect((await list()).body.data).toContainEqual(
      expect.objectContaining({ id, lastUsedAt: second.toISOString() }),
    );
  });
});

describe('revoking a key', () => {
  it('works at once here and within a second elsewhere', async () => {
    const other = await createTestApi({ beside: api });
    try {
      const { id, key } = await api.createKey(owner, project, ['project:read']);
      expect(await readProject({ token: key })).toMatchObject({ status: 200 });
      expect(await readProject({ token: key }, other)).toMatchObject({ status: 200 });
      expect(await revoke(id)).toMatchObject({ status: 204, body: undefined });
      expect(await readProject({ token: key })).toMatchObject({ status: 401 });
      other.clock.advance(1_000);
      expect(await readProject({ token: key }, other)).toMatchObject({ status: 401 });
      expect((await list()).ids).not.toContain(id);
    } finally {
      await other.close();
    }
  });

  it('of somebody else looks like one that never was', async () => {
    const foreign = await api.createKey(stranger, foreignProject, ['project:read']);
    const gone = await api.createKey(owner, project);
    await revoke(gone.id);
    const never = await revoke(newId());
    expect(never.status).toBe(404);
    for (const id of [foreign.id, gone.id, 'x', '%00', foreign.id.toUpperCase()]) {
      expect(await revoke(id)).toMatchObject({ status: 404, text: never.text });
    }
    expect(await revoke(foreign.id, foreignProject)).toMatchObject({ status: 404, text: never.text });
    expect(await api.call('GET', `/projects/${foreignProject}`, { token: foreign.key })).toMatchObject({
      status: 200,
    });
  });
});

describe('listing keys', () => {
  it('pages through those of the project, newest first', async () => {
    const id = await api.createProject(owner);
    const made: string[] = [];
    for (let n = 0; n < 3; n++) made.unshift((await api.createKey(owner, id)).id);
    const first = await api.call('GET', `/projects/${id}/keys?limit=2`, { token: owner.token });
    const next = /^<(\?.*)>; rel="next"$/.exec(String(first.headers['link']))?.[1] ?? '';
    const second = await api.call('GET', `/projects/${id}/keys${next}`, { token: owner.token });
    const ids = [...first.ids, ...second.ids];
    expect(ids).toEqual(made);
    expect(second.body.nextCursor).toBeNull();
  });

  it('is for the owner', async () => {
    const never = await list(newId());
    expect(await list(foreignProject)).toMatchObject({ status: 404, text: never.text });
    expect(await api.call('GET', `/projects/${project}/keys`)).toMatchObject({ status: 401 });
  });
});
