import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../test/api.js';
import { newId } from '../../foundation/ids.js';
import { isOrigin } from '../../foundation/http/origin.js';
import { isAmong, isNetwork } from './origin-rules.js';

let api: TestApi;
let owner: Member;
let project: string;

beforeAll(async () => {
  api = await createTestApi();
  owner = await api.register();
  project = await api.createProject(owner);
});
afterAll(() => api.close());

const make = async (body: Record<string, unknown>) =>
  (
    await api.call('POST', `/projects/${project}/keys`, {
      token: owner.token,
      body: { name: 'Test', scopes: ['project:read'], ...body },
    })
  ).body as { id: string; key: string };
const change = (id: string, body: unknown, token = owner.token) =>
  api.call('PATCH', `/projects/${project}/keys/${id}`, { token, body });
const rotate = (id: string, overlapSeconds: number) =>
  api.call('POST', `/projects/${project}/keys/${id}/rotate`, {
    token: owner.token,
    body: { overlapSeconds },
  });
const use = (key: string, headers: Record<string, string> = {}, on = api) =>
  on.call('GET', `/projects/${project}`, { token: key, headers });

describe('a key that is bound', () => {
  it('to pages works for their Origin only, and for none without one', async () => {
    const { key } = await make({ allowedOrigins: ['https://app.example.com', 'http://localhost:3000'] });
    expect(await use(key, { origin: 'https://app.example.com' })).toMatchObject({ status: 200 });
    expect(await use(key, { origin: 'http://localhost:3000' })).toMatchObject({ status: 200 });
    for (const origin of [
      'https://app.example.com.evil.example',
      'http://app.example.com',
      'https://app.example.com:8443',
      'null',
      '',
    ]) {
      expect(await use(key, { origin })).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    }
    expect(await use(key)).toMatchObject({ status: 403 });
  });

  it('to addresses works from there only, whatever a header says', async () => {
    const here = await make({ allowedAddresses: ['127.0.0.0/8'] });
    const elsewhere = await make({ allowedAddresses: ['10.0.0.0/8', '2001:db8::/32'] });
    expect(await use(here.key)).toMatchObject({ status: 200 });
    expect(await use(elsewhere.key)).toMatchObject({ status: 403 });
    expect(await use(elsewhere.key, { 'x-forwarded-for': '10.0.0.1' })).toMatchObject({ status: 403 });
  });
});

describe('changing a key', () => {
  it('counts at once, and leaves what is not given', async () => {
    const { id, key } = await make({ maxFiles: 3 });
    expect(await use(key)).toMatchObject({ status: 200 });
    expect(await change(id, { enabled: false })).toMatchObject({
      status: 200,
      body: { enabled: false, maxFiles: 3, scopes: ['project:read'] },
    });
    expect(await use(key)).toMatchObject({ status: 401 });
    expect(await change(id, { enabled: true, scopes: ['files:create'], name: ' New ' })).toMatchObject({
      body: { enabled: true, name: 'New' },
    });
    expect(await use(key)).toMatchObject({ status: 403 });
    const limited = { maxFiles: null, allowedTypes: ['image/*'], expiresAt: '2099-01-01T00:00:00.000Z' };
    expect(await change(id, limited)).toMatchObject({ body: limited });
    expect((await change(id, {})).body).toMatchObject(limited);
    expect(await change(id, { expiresAt: null })).toMatchObject({ body: { expiresAt: null } });
  });

  it('reaches other processes within a second', async () => {
    const other = await createTestApi({ beside: api });
    try {
      const { id, key } = await make({});
      expect(await use(key, {}, other)).toMatchObject({ status: 200 });
      await change(id, { enabled: false });
      other.clock.advance(1_000);
      expect(await use(key, {}, other)).toMatchObject({ status: 401 });
    } finally {
      await other.close();
    }
  });

  it('is for the owner, and for keys of the project', async () => {
    const { id, key } = await make({ scopes: ['project:write'] });
    expect(await change(id, { scopes: ['files:delete'] }, key)).toMatchObject({ status: 403 });
    for (const unknown of [newId(), 'x']) {
      expect(await change(unknown, { name: 'x' })).toMatchObject({ status: 404 });
      expect(await rotate(unknown, 0)).toMatchObject({ status: 404 });
    }
    await api.call('DELETE', `/projects/${project}/keys/${id}`, { token: owner.token });
    expect(await change(id, { enabled: true })).toMatchObject({ status: 404 });
    expect(await rotate(id, 60)).toMatchObject({ status: 404 });
  });

  it.each([
    [{ enabled: 'yes' }, '/enabled'],
    [{ key: 'mbk_x' }, '/key'],
    [{ scopes: [] }, '/scopes'],
    [{ expiresAt: '2020-01-01T00:00:00Z' }, '/expiresAt'],
    [{ allowedAddresses: ['nowhere'] }, '/allowedAddresses/0'],
  ])('to %j is refused', async (body, pointer) => {
    const { id } = await make({});
    const answer = await change(id, body);
    expect(answer.status).toBe(400);
    expect(answer.pointers).toContain(pointer);
  });
});

describe('rotating a key', () => {
  it('gives a new one, and lets the old one work for the overlap', async () => {
    const old = await make({});
    expect(await use(old.key)).toMatchObject({ status: 200 });
    const { status, body } = await rotate(old.id, 3_600);
    expect(status).toBe(200);
    expect(body).toMatchObject({ id: old.id, key: expect.stringMatching(/^mbk_/) });
    expect(body.key).not.toBe(old.key);
    expect(new Date(String(body.previousUntil)).getTime()).toBeGreaterThan(Date.now() + 3_500_000);
    for (const key of [old.key, String(body.key)]) expect(await use(key)).toMatchObject({ status: 200 });

    await api.database.pool.query('UPDATE api_keys SET previous_until = now() WHERE id = $1', [old.id]);
    api.clock.advance(1_000);
    expect(await use(old.key)).toMatchObject({ status: 401 });
    expect(await use(String(body.key))).toMatchObject({ status: 200 });
  });

  it('twice ends the first at once, and without overlap the present one', async () => {
    const first = await make({});
    const second = (await rotate(first.id, 3_600)).body.key as string;
    const third = (await rotate(first.id, 3_600)).body.key as string;
    expect(await use(first.key)).toMatchObject({ status: 401 });
    expect(await use(second)).toMatchObject({ status: 200 });
    const fourth = (await rotate(first.id, 0)).body.key as string;
    for (const key of [second, third]) expect(await use(key)).toMatchObject({ status: 401 });
    expect(await use(fourth)).toMatchObject({ status: 200 });
  });

  it('and revoking ends both', async () => {
    const old = await make({});
    const { body } = await rotate(old.id, 3_600);
    await api.call('DELETE', `/projects/${project}/keys/${old.id}`, { token: owner.token });
    for (const key of [old.key, String(body.key)]) expect(await use(key)).toMatchObject({ status: 401 });
  });
});

it('a key in the URL is refused, also beside a credential that works', async () => {
  const { key } = await make({});
  for (const name of ['api_key', 'key', 'access_token', 'anything']) {
    const answer = await api.call('GET', `/projects/${project}?${name}=${key}`, { token: owner.token });
    expect(answer).toMatchObject({ status: 401, body: { detail: expect.stringContaining('URL') } });
    expect(answer.text).not.toContain(key);
  }
});

it('where a key was used last is noted', async () => {
  const { id, key } = await make({});
  await use(key);
  const last = async () => {
    const { body } = await api.call('GET', `/projects/${project}/keys`, { token: owner.token });
    return (body.data as { id: string; lastUsedAddress: string | null }[]).find((one) => one.id === id);
  };
  await expect.poll(async () => (await last())?.lastUsedAddress).toBe('127.0.0.1');
});

describe('rules in words', () => {
  it.each([
    ['https://app.example.com', true],
    ['http://localhost:3000', true],
    ['https://app.example.com:443', false],
    ['https://APP.example.com', false],
    ['https://app.example.com/', false],
    ['https://a@b.example', false],
    ['ftp://a.example', false],
    ['null', false],
  ])('%s is an origin: %s', (text, is) => expect(isOrigin(text)).toBe(is));

  it.each([
    ['10.0.0.1', true],
    ['10.0.0.0/8', true],
    ['::1', true],
    ['2001:db8::/32', true],
    ['10.0.0.0/8/8', false],
    ['fe80::1%eth0', false],
    ['10.0.0', false],
    ['', false],
  ])('%s is a network: %s', (text, is) => expect(isNetwork(text)).toBe(is));

  it.each([
    ['10.1.2.3', ['10.0.0.0/8'], true],
    ['::ffff:10.1.2.3', ['10.0.0.0/8'], true],
    ['11.1.2.3', ['10.0.0.0/8', '11.1.2.4'], false],
    ['2001:db8::5', ['2001:db8::/32'], true],
    ['::1', ['127.0.0.1'], false],
    ['unix', ['10.0.0.0/8'], false],
  ])('%s among %j: %s', (address, networks, is) => expect(isAmong(address, networks)).toBe(is));
});
