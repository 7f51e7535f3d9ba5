import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, testPassword, type Member, type TestApi } from '../../../test/api.js';
import { newId } from '../../foundation/ids.js';

let api: TestApi;
let admin: Member;
let member: Member;

beforeAll(async () => {
  api = await createTestApi();
  admin = await api.register();
  member = await api.register();
});
afterAll(() => api.close());

const call = (who: Member | undefined, method: string, path: string, body?: unknown, on = api) =>
  on.call(method, path, { ...(who ? { token: who.token } : {}), ...(body === undefined ? {} : { body }) });
const change = (who: Member, body: object) => call(admin, 'PATCH', `/users/${who.userId}`, body);
const register = (body: object, on = api) => call(undefined, 'POST', '/auth/register', body, on);

describe('the people of the server', () => {
  it('are managed by administrators only', async () => {
    for (const [method, path, body] of [
      ['GET', '/users', undefined],
      ['GET', `/users/${admin.userId}`, undefined],
      ['PATCH', `/users/${member.userId}`, { role: 'admin' }],
      ['DELETE', `/users/${admin.userId}`, undefined],
      ['POST', `/users/${admin.userId}/reset-link`, undefined],
      ['POST', '/users/invitations', {}],
      ['GET', '/users/invitations', undefined],
    ] as const) {
      expect(await call(member, method, path, body)).toMatchObject({ status: 403 });
      expect(await call(undefined, method, path, body)).toMatchObject({ status: 401 });
    }
  });

  it('are listed without a secret', async () => {
    const list = await call(admin, 'GET', '/users');
    expect(list.ids).toEqual(expect.arrayContaining([admin.userId, member.userId]));
    expect(list.text).not.toMatch(/argon2|password|totp|hash/i);
    expect(await call(admin, 'GET', `/users/${member.userId}`)).toMatchObject({
      body: { email: member.email, role: 'user', disabled: false, secondFactor: false },
    });
    for (const id of [newId(), 'x']) {
      expect(await call(admin, 'GET', `/users/${id}`)).toMatchObject({ status: 404 });
      expect(await call(admin, 'PATCH', `/users/${id}`, { disabled: true })).toMatchObject({ status: 404 });
      expect(await call(admin, 'DELETE', `/users/${id}`)).toMatchObject({ status: 404 });
    }
  });

  it('keep their projects to themselves', async () => {
    const projectId = await api.createProject(member);
    expect(await call(admin, 'GET', `/projects/${projectId}`)).toMatchObject({ status: 404 });
    expect((await call(admin, 'GET', '/projects')).ids).not.toContain(projectId);
  });
});

describe('who is disabled', () => {
  it('is out at once, here and within a second elsewhere, until enabled again', async () => {
    const other = await createTestApi({ beside: api });
    try {
      const who = await api.register();
      for (const on of [api, other])
        expect(await call(who, 'GET', '/auth/me', undefined, on)).toMatchObject({ status: 200 });
      expect(await change(who, { disabled: true })).toMatchObject({ status: 200, body: { disabled: true } });
      expect(await call(who, 'GET', '/auth/me')).toMatchObject({ status: 401 });
      other.clock.advance(1_000);
      expect(await call(who, 'GET', '/auth/me', undefined, other)).toMatchObject({ status: 401 });
      const { refreshToken, email } = who;
      expect(await call(undefined, 'POST', '/auth/refresh', { refreshToken })).toMatchObject({ status: 401 });
      const credentials = { email, password: testPassword };
      expect(await call(undefined, 'POST', '/auth/login', credentials)).toMatchObject({ status: 401 });
      await change(who, { disabled: false });
      expect(await call(who, 'GET', '/auth/me')).toMatchObject({ status: 401 });
      expect(await call(undefined, 'POST', '/auth/login', credentials)).toMatchObject({ status: 200 });
    } finally {
      await other.close();
    }
  });
});

describe('the last administrator', () => {
  it('stays one, also when two remove one another at once', async () => {
    const own = await createTestApi();
    try {
      const first = await own.register();
      const second = await own.register();
      const on = (who: Member, id: string, body: object) =>
        own.call('PATCH', `/users/${id}`, { token: who.token, body });
      for (const body of [{ role: 'user' }, { disabled: true }]) {
        expect(await on(first, first.userId, body)).toMatchObject({ status: 409 });
      }
      expect(await own.call('DELETE', `/users/${first.userId}`, { token: first.token })).toMatchObject({
        status: 409,
      });
      expect(await on(first, second.userId, { role: 'admin' })).toMatchObject({ status: 200 });
      own.clock.advance(1_000);
      const answers = await Promise.all([
        on(first, second.userId, { role: 'user' }),
        on(second, first.userId, { role: 'user' }),
      ]);
      expect(answers.map(({ status }) => status).toSorted()[0]).toBe(200);
      const { rows } = await own.database.pool.query("SELECT 1 FROM users WHERE role = 'admin'");
      expect(rows).toHaveLength(1);
    } finally {
      await own.close();
    }
  });
});

describe('an invitation to the server', () => {
  it('lets one person in where registration wants one', async () => {
    const own = await createTestApi({ registration: 'invite' });
    try {
      const first = await own.register();
      const invite = async (body: object) =>
        (await own.call('POST', '/users/invitations', { token: first.token, body })).body as {
          id: string;
          token: string;
          url: string;
        };
      const password = testPassword;
      const refused = await register({ email: 'a@example.com', password }, own);
      expect(refused).toMatchObject({ status: 403, body: { code: 'registration-closed' } });

      const { token, url } = await invite({ role: 'admin' });
      expect(url).toContain(`/join#token=${token}`);
      const answers = await Promise.all(
        Array.from({ length: 5 }, (_, n) =>
          register({ email: `guest-${n}@example.com`, password, invitation: token }, own),
        ),
      );
      expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 403, 403, 403, 403]);
      expect(answers.find(({ status }) => status === 201)?.body.user.role).toBe('admin');

      const bound = await invite({ email: 'Only.Me@example.com' });
      expect(
        await register({ email: 'other@example.com', password, invitation: bound.token }, own),
      ).toMatchObject({ status: 400, pointers: ['/email'] });
      expect(
        await register({ email: 'only.me@example.com', password, invitation: bound.token }, own),
      ).toMatchObject({ status: 201, body: { user: { role: 'user' } } });

      const late = await invite({});
      await own.database.pool.query('UPDATE account_links SET expires_at = now() WHERE id = $1', [late.id]);
      const withdrawn = await invite({});
      const path = `/users/invitations/${withdrawn.id}`;
      const list = await own.call('GET', '/users/invitations', { token: first.token });
      expect(list.ids).toEqual([withdrawn.id]);
      expect(await own.call('DELETE', path, { token: first.token })).toMatchObject({ status: 204 });
      expect(await own.call('DELETE', path, { token: first.token })).toMatchObject({ status: 404 });
      for (const invitation of [late.token, withdrawn.token, token, 'x'.repeat(43), 'x']) {
        const answer = await register({ email: 'b@example.com', password, invitation }, own);
        expect(answer).toMatchObject({ status: 403 });
      }
    } finally {
      await own.close();
    }
  });
});

describe('a reset link', () => {
  it('lets the person choose a password once, and ends all sessions', async () => {
    const who = await api.register();
    const made = await call(admin, 'POST', `/users/${who.userId}/reset-link`);
    expect(made).toMatchObject({ status: 201, body: { expiresIn: 3600 } });
    const confirm = (token: string, password: string) =>
      call(undefined, 'POST', '/auth/password-reset/confirm', { token, password });
    const token = made.body.token as string;
    expect(await confirm(token, 'Summer2024')).toMatchObject({ status: 422 });
    expect(await confirm(token, who.email)).toMatchObject({ status: 422 });
    expect(await confirm(token, 'seven-purple-llamas')).toMatchObject({ status: 204 });
    expect(await confirm(token, 'eight-purple-llamas')).toMatchObject({ status: 404 });
    expect(await call(who, 'GET', '/auth/me')).toMatchObject({ status: 401 });
    const credentials = { email: who.email, password: 'seven-purple-llamas' };
    expect(await call(undefined, 'POST', '/auth/login', credentials)).toMatchObject({ status: 200 });
  });

  it('is replaced by the next one, and ends with its time', async () => {
    const who = await api.register();
    const make = async () =>
      (await call(admin, 'POST', `/users/${who.userId}/reset-link`)).body.token as string;
    const [first, second] = [await make(), await make()];
    const confirm = (token: string) =>
      call(undefined, 'POST', '/auth/password-reset/confirm', { token, password: 'seven-purple-llamas' });
    expect(await confirm(first)).toMatchObject({ status: 404 });
    await api.database.pool.query('UPDATE account_links SET expires_at = now() WHERE user_id = $1', [
      who.userId,
    ]);
    expect(await confirm(second)).toMatchObject({ status: 404 });
  });
});
