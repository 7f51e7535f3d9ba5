import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, testPassword, type Member, type TestApi } from '../../../test/api.js';
import { codeOf, stepAt } from './totp.js';

let api: TestApi;
let admin: Member;

beforeAll(async () => {
  api = await createTestApi();
  admin = await api.register();
});
afterAll(() => api.close());

const call = (who: Member | undefined, method: string, path: string, body?: unknown, on = api) =>
  on.call(method, path, { ...(who ? { token: who.token } : {}), ...(body === undefined ? {} : { body }) });
const logIn = (email: string, password = testPassword, more: object = {}) =>
  call(undefined, 'POST', '/auth/login', { email, password, ...more });
const again = async (who: Member): Promise<Member> => {
  const { body } = await logIn(who.email);
  return { ...who, token: body.accessToken, refreshToken: body.refreshToken };
};
const newPassword = 'seven-purple-llamas';

describe('sessions', () => {
  it('are listed, the present one marked, and end one by one or all but one', async () => {
    const first = await api.register();
    const second = await again(first);
    const third = await again(first);
    const list = async () =>
      (await call(first, 'GET', '/auth/sessions')).body.data as { id: string; current: boolean }[];
    const seen = await list();
    expect(seen.map(({ current }) => current)).toEqual([false, false, true]);
    expect(await call(first, 'DELETE', `/auth/sessions/${seen[0]?.id}`)).toMatchObject({ status: 204 });
    expect(await call(third, 'GET', '/auth/me')).toMatchObject({ status: 401 });
    expect(await call(second, 'GET', '/auth/me')).toMatchObject({ status: 200 });
    expect(await call(first, 'DELETE', '/auth/sessions')).toMatchObject({ status: 204 });
    expect(await call(second, 'GET', '/auth/me')).toMatchObject({ status: 401 });
    expect(await list()).toHaveLength(1);
  });

  it('of others look like none', async () => {
    const [one, other] = [await api.register(), await api.register()];
    const id = (await call(other, 'GET', '/auth/sessions')).ids[0] ?? '';
    for (const unknown of [id, 'x']) {
      expect(await call(one, 'DELETE', `/auth/sessions/${unknown}`)).toMatchObject({ status: 404 });
    }
    expect(await call(other, 'GET', '/auth/me')).toMatchObject({ status: 200 });
  });
});

describe('changing', () => {
  it('the password wants the old one, and ends all other sessions', async () => {
    const who = await api.register();
    const elsewhere = await again(who);
    const change = (body: object) => call(who, 'POST', '/auth/password', body);
    expect(await change({ password: 'wrong-horse', newPassword })).toMatchObject({ status: 401 });
    expect(await change({ password: testPassword, newPassword: 'Summer2024' })).toMatchObject({
      status: 422,
      body: { code: 'weak-password', errors: [{ pointer: '/newPassword' }] },
    });
    expect(await change({ password: testPassword, newPassword })).toMatchObject({ status: 204 });
    expect(await call(who, 'GET', '/auth/me')).toMatchObject({ status: 200 });
    expect(await call(elsewhere, 'GET', '/auth/me')).toMatchObject({ status: 401 });
    expect(await logIn(who.email)).toMatchObject({ status: 401 });
    expect(await logIn(who.email, newPassword)).toMatchObject({ status: 200 });
  });

  it('the e-mail wants the password and an address that nobody has', async () => {
    const who = await api.register();
    const change = (body: object) => call(who, 'POST', '/auth/email', body);
    const email = 'New.Address@Example.com';
    expect(await change({ password: 'wrong-horse', email })).toMatchObject({ status: 401 });
    expect(await change({ password: testPassword, email: admin.email.toUpperCase() })).toMatchObject({
      status: 409,
      body: { code: 'email-taken' },
    });
    expect(await change({ password: testPassword, email })).toMatchObject({
      status: 200,
      body: { confirmationSent: false, user: { email, emailVerified: false } },
    });
    expect(await logIn(email.toLowerCase())).toMatchObject({ status: 200 });
    expect(await logIn(who.email)).toMatchObject({ status: 401 });
  });

  it('the name takes a line of text or nothing, and nothing else', async () => {
    const who = await api.register();
    expect(await call(who, 'PATCH', '/auth/me', { name: ' Ada ' })).toMatchObject({ body: { name: 'Ada' } });
    expect(await call(who, 'PATCH', '/auth/me', { name: null })).toMatchObject({ body: { name: null } });
    for (const body of [{}, { name: 'x', role: 'admin' }, { name: 'a\u0000' }]) {
      expect(await call(who, 'PATCH', '/auth/me', body)).toMatchObject({ status: 400 });
    }
  });
});

describe('a weak password', () => {
  it.each(['Summer2024', 'qwertyuiop1', 'iloveyou1', 'Charlotte7'])(
    '%s is refused with a reason',
    async (password) => {
      const answer = await call(undefined, 'POST', '/auth/register', { email: 'weak@example.com', password });
      expect(answer).toMatchObject({ status: 422, body: { code: 'weak-password' } });
      expect(answer.body.detail.length).toBeGreaterThan(20);
      expect(answer.text).not.toContain(password);
    },
  );

  it('is one that is made of the person’s own name', async () => {
    const body = {
      email: 'zebulon.quarkwell@example.com',
      name: 'Zebulon Quarkwell',
      password: 'zebulonquarkwell',
    };
    expect(await call(undefined, 'POST', '/auth/register', body)).toMatchObject({ status: 422 });
  });
});

describe('deleting one’s account', () => {
  it('wants the password, closes everything, and keeps the address', async () => {
    const who = await api.register();
    const projectId = await api.createProject(who);
    const { key } = await api.createKey(who, projectId, ['project:read']);
    expect(await call(who, 'DELETE', '/auth/me', { password: 'wrong-horse' })).toMatchObject({ status: 401 });
    expect(await call(who, 'DELETE', '/auth/me', { password: testPassword })).toMatchObject({ status: 204 });
    expect(await call(who, 'GET', '/auth/me')).toMatchObject({ status: 401 });
    expect(await logIn(who.email)).toMatchObject({ status: 401 });
    expect(await api.call('GET', `/projects/${projectId}`, { token: key })).toMatchObject({ status: 404 });
  });

  it('is refused while others work in a project, before anything is deleted', async () => {
    const [who, guest] = [await api.register(), await api.register()];
    const [own, shared] = [await api.createProject(who), await api.createProject(who)];
    const invited = await call(who, 'POST', `/projects/${shared}/invitations`, { role: 'viewer' });
    await call(guest, 'POST', '/invitations/accept', { token: invited.body.token });
    expect(await call(who, 'DELETE', '/auth/me', { password: testPassword })).toMatchObject({ status: 409 });
    expect(await call(who, 'GET', `/projects/${own}`)).toMatchObject({ status: 200 });
    await call(who, 'POST', `/projects/${shared}/transfer`, { userId: guest.userId });
    expect(await call(who, 'DELETE', '/auth/me', { password: testPassword })).toMatchObject({ status: 204 });
    expect(await call(guest, 'GET', `/projects/${shared}`)).toMatchObject({ status: 200 });
  });

  it('is refused for the last administrator', async () => {
    const projectId = await api.createProject(admin);
    expect(await call(admin, 'DELETE', '/auth/me', { password: testPassword })).toMatchObject({
      status: 409,
    });
    expect(await call(admin, 'GET', `/projects/${projectId}`)).toMatchObject({ status: 200 });
  });
});

describe('a second factor', () => {
  const base32 = (text: string) => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
    const bits = [...text].map((letter) => alphabet.indexOf(letter).toString(2).padStart(5, '0')).join('');
    return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
  };

  it('is asked for once a code of it was confirmed; each code works once', async () => {
    const who = await api.register();
    const begun = await call(who, 'POST', '/auth/second-factor', { password: testPassword });
    expect(begun.body.uri).toContain(`secret=${begun.body.secret}`);
    const secret = base32(begun.body.secret);
    const code = (steps = 0) => codeOf(secret, stepAt(api.clock.now()) + steps);
    expect(await logIn(who.email)).toMatchObject({ status: 200 });
    expect(await call(who, 'POST', '/auth/second-factor/confirm', { code: '000000' })).toMatchObject({
      status: 401,
    });
    const confirmed = await call(who, 'POST', '/auth/second-factor/confirm', { code: code() });
    expect(confirmed).toMatchObject({ status: 200 });
    const recovery = confirmed.body.recoveryCodes as string[];
    expect(recovery).toHaveLength(10);

    expect(await logIn(who.email)).toMatchObject({ status: 401, body: { code: 'second-factor-required' } });
    expect(await logIn(who.email, 'wrong-horse')).toMatchObject({ body: { code: 'invalid-credentials' } });
    // The confirmed one is used up.
    expect(await logIn(who.email, testPassword, { code: code() })).toMatchObject({ status: 401 });
    expect(await logIn(who.email, testPassword, { code: code(1) })).toMatchObject({
      status: 200,
      body: { user: { secondFactor: true } },
    });
    expect(await logIn(who.email, testPassword, { code: code(1) })).toMatchObject({ status: 401 });
    api.clock.advance(60_000);
    expect(await logIn(who.email, testPassword, { code: code(-3) })).toMatchObject({ status: 401 });
    expect(await logIn(who.email, testPassword, { code: code() })).toMatchObject({ status: 200 });

    const spare = recovery[3] ?? '';
    expect(await logIn(who.email, testPassword, { code: spare.toLowerCase() })).toMatchObject({
      status: 200,
    });
    expect(await logIn(who.email, testPassword, { code: spare })).toMatchObject({ status: 401 });
    const remove = (body: object) => call(who, 'DELETE', '/auth/second-factor', body);
    expect(await remove({ password: testPassword })).toMatchObject({ status: 401 });
    expect(await remove({ password: testPassword, code: recovery[0] })).toMatchObject({ status: 204 });
    expect(await logIn(who.email)).toMatchObject({ status: 200 });
  });

  it('is not replaced while it is active, and administrators can take it away', async () => {
    const who = await api.register();
    const begin = () => call(who, 'POST', '/auth/second-factor', { password: testPassword });
    await begin();
    const secret = base32((await begin()).body.secret);
    await call(who, 'POST', '/auth/second-factor/confirm', { code: codeOf(secret, stepAt(api.clock.now())) });
    expect(await begin()).toMatchObject({ status: 401, body: { code: 'second-factor-required' } });
    const path = `/users/${who.userId}`;
    expect(await call(admin, 'PATCH', path, { secondFactor: true })).toMatchObject({ status: 400 });
    expect(await call(admin, 'PATCH', path, { secondFactor: false })).toMatchObject({
      body: { secondFactor: false },
    });
    expect(await logIn(who.email)).toMatchObject({ status: 200 });
  });
});
