import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createLocalLimiter } from '../../foundation/limits/limiter.js';
import { createTestApi, testPassword, type Json, type TestApi } from '../../../test/api.js';
import { createPasswords } from './passwords.js';

let api: TestApi;
const lines: string[] = [];

beforeAll(async () => {
  api = await createTestApi({ onLogLine: (line) => lines.push(line) });
  // The administrator, so that tests of others meet ordinary people.
  await api.register();
});
afterAll(() => api.close());

const post = (path: string, body?: unknown, headers: Record<string, string> = {}, on = api) =>
  on.call('POST', path, { headers, ...(body === undefined ? {} : { body }) });
const me = (token: string, on = api) => on.call('GET', '/auth/me', { token });
let people = 0;
const newEmail = () => `somebody-${people++}@example.com`;
const query = async (text: string, values: unknown[] = []): Promise<Json[]> =>
  (await api.database.pool.query<Record<string, unknown>>(text, values)).rows;

describe('registering', () => {
  it('answers with the person and tokens that work', async () => {
    const { status, body, headers } = await post('/auth/register', {
      email: ' Ada@Example.com',
      password: testPassword,
      name: ' Ada ',
    });
    expect(status).toBe(201);
    expect(body).toEqual({
      user: {
        id: expect.any(String),
        email: 'Ada@Example.com',
        emailVerified: false,
        name: 'Ada',
        role: 'user',
        secondFactor: false,
        createdAt: expect.stringMatching(/Z$/),
      },
      sessionId: expect.any(String),
      accessToken: expect.any(String),
      refreshToken: expect.stringMatching(/^[\w-]{43}$/),
      expiresIn: 900,
    });
    expect(headers['cache-control']).toBe('no-store');
    expect(headers['set-cookie']).toBeUndefined();
    expect(await me(body.accessToken)).toMatchObject({ status: 200, body: body.user });
  });

  it('takes one e-mail once, however it is spelled', async () => {
    await post('/auth/register', { email: 'bob@bücher.example', password: testPassword });
    for (const email of ['bob@bücher.example', ' BOB@xn--bcher-kva.EXAMPLE ']) {
      expect(await post('/auth/register', { email, password: testPassword })).toMatchObject({
        status: 409,
        body: { code: 'email-taken' },
      });
    }
  });

  it.each([
    [{}, 400, 'invalid-request', '/email'],
    [{ email: 'a@example.com' }, 400, 'invalid-request', '/password'],
    [{ email: 'no address', password: testPassword }, 400, 'invalid-request', '/email'],
    [{ email: 7, password: testPassword }, 400, 'invalid-request', '/email'],
    [{ email: null, password: testPassword }, 400, 'invalid-request', '/email'],
    [{ email: 'a\u0000@example.com', password: testPassword }, 400, 'invalid-request', '/email'],
    [{ email: 'x'.repeat(400), password: testPassword }, 400, 'invalid-request', '/email'],
    [{ email: 'a@example.com', password: 12_345_678 }, 400, 'invalid-request', '/password'],
    [{ email: 'a@example.com', password: 'x'.repeat(1025) }, 400, 'invalid-request', '/password'],
    [{ email: 'a@example.com', password: 'é'.repeat(600) }, 422, 'weak-password', '/password'],
    [{ email: 'a@example.com', password: 'short' }, 422, 'weak-password', '/password'],
    [{ email: 'a@example.com', password: 'a@example.com' }, 422, 'weak-password', '/password'],
    [{ email: 'a@example.com', password: testPassword, role: 'admin' }, 400, 'invalid-request', '/role'],
    [{ email: 'a@example.com', password: testPassword, id: 1 }, 400, 'invalid-request', '/id'],
    [{ email: 'a@example.com', password: testPassword, name: 'a\u0000' }, 400, 'invalid-request', '/name'],
  ])('%.80j is refused', async (body, status, code, pointer) => {
    const answer = await post('/auth/register', body);
    expect(answer.status).toBe(status);
    expect(answer.body.code).toBe(code);
    expect(answer.pointers).toContain(pointer);
    expect(answer.text).not.toContain(testPassword);
    expect(await query("SELECT 1 FROM users WHERE email_canonical = 'a@example.com'")).toEqual([]);
  });

  it('refuses a password of a megabyte unread', async () => {
    const password = 'x'.repeat(1024 * 1024);
    for (const path of ['/auth/register', '/auth/login']) {
      expect(await post(path, { email: 'a@example.com', password })).toMatchObject({ status: 413 });
    }
  });

  it('of one e-mail fifty times at once makes one account', async () => {
    const email = newEmail();
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => post('/auth/register', { email, password: testPassword })),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, ...Array<number>(49).fill(409)]);
    expect(await query('SELECT 1 FROM users WHERE email_canonical = $1', [email])).toHaveLength(1);
  });
});

describe('the first account', () => {
  it('is the only administrator, also when twenty register at once in two processes', async () => {
    const first = await createTestApi();
    const second = await createTestApi({ beside: first });
    try {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          post('/auth/register', { email: newEmail(), password: testPassword }, {}, n % 2 ? first : second),
        ),
      );
      expect(answers.map(({ status }) => status)).toEqual(Array<number>(20).fill(201));
      expect(answers.filter(({ body }) => body.user.role === 'admin')).toHaveLength(1);
    } finally {
      await second.close();
      await first.close();
    }
  });

  it('can be made while registration is closed, and is the last then', async () => {
    const closed = await createTestApi({ registration: 'closed' });
    try {
      const answers = await Promise.all(
        Array.from({ length: 5 }, () =>
          post('/auth/register', { email: newEmail(), password: testPassword }, {}, closed),
        ),
      );
      expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 403, 403, 403, 403]);
      expect(
        await post('/auth/register', { email: newEmail(), password: testPassword }, {}, closed),
      ).toMatchObject({ status: 403, body: { code: 'registration-closed' } });
    } finally {
      await closed.close();
    }
  });
});

describe('logging in', () => {
  it('takes every spelling of the e-mail', async () => {
    const email = newEmail();
    await post('/auth/register', { email, password: testPassword });
    const answer = await post('/auth/login', { email: ` ${email.toUpperCase()} `, password: testPassword });
    expect(answer).toMatchObject({ status: 200, body: { user: { email }, expiresIn: 900 } });
    expect(await me(answer.body.accessToken)).toMatchObject({ status: 200 });
  });

  it('answers an unknown e-mail, a wrong password and a disabled account with the same bytes', async () => {
    const [known, disabled] = [newEmail(), newEmail()];
    await post('/auth/register', { email: known, password: testPassword });
    await post('/auth/register', { email: disabled, password: testPassword });
    await query('UPDATE users SET disabled_at = now() WHERE email_canonical = $1', [disabled]);
    const wrong = await post('/auth/login', { email: known, password: 'wrong-horse-battery' });
    expect(wrong).toMatchObject({ status: 401, body: { code: 'invalid-credentials' } });
    for (const [email, password] of [
      [newEmail(), testPassword],
      ['not an address', testPassword],
      [disabled, testPassword],
      [known, ''],
      [known, 'é'.repeat(600)],
    ]) {
      const answer = await post('/auth/login', { email, password });
      expect(answer.text).toBe(wrong.text);
      expect({ ...answer.headers, 'x-request-id': '', 'content-length': '', date: '' }).toEqual({
        ...wrong.headers,
        'x-request-id': '',
        'content-length': '',
        date: '',
      });
    }
  });

  it.each([
    [{}, '/email'],
    [{ email: 'a@example.com' }, '/password'],
    [{ email: 'a@example.com', password: testPassword, remember: true }, '/remember'],
  ])('%j is refused', async (body, pointer) => {
    const answer = await post('/auth/login', body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid-request' } });
    expect(answer.pointers).toContain(pointer);
  });

  it('hashes anew what was hashed at another cost', async () => {
    const email = newEmail();
    await post('/auth/register', { email, password: testPassword });
    const old = await createPasswords({ parallel: 1, cost: { memoryKib: 32, passes: 1 } });
    await query('UPDATE users SET password_hash = $2 WHERE email_canonical = $1', [
      email,
      await old.hash(testPassword),
    ]);
    for (let n = 0; n < 2; n++) {
      expect(await post('/auth/login', { email, password: testPassword })).toMatchObject({ status: 200 });
      expect(await query('SELECT password_hash FROM users WHERE email_canonical = $1', [email])).toEqual([
        { password_hash: expect.stringContaining('m=64,t=1,p=1') },
      ]);
    }
  });

  it('is slowed down for who guesses', async () => {
    const limited = await createTestApi({
      beside: api,
      loginLimits: { account: createLocalLimiter({ rate: { points: 3, seconds: 600 } }) },
    });
    try {
      const email = newEmail();
      await post('/auth/register', { email, password: testPassword });
      for (let n = 0; n < 3; n++) {
        const guess = { email: n === 1 ? email.toUpperCase() : email, password: `guess-number-${n}` };
        expect(await post('/auth/login', guess, {}, limited)).toMatchObject({ status: 401 });
      }
      // Also with the right password, and whatever forwarding header is made up.
      for (const forwarded of ['1.1.1.1', '9.9.9.9']) {
        const headers = { 'x-forwarded-for': forwarded };
        const answer = await post('/auth/login', { email, password: testPassword }, headers, limited);
        expect(answer).toMatchObject({ status: 429, body: { code: 'too-many-requests' } });
        expect(Number(answer.headers['retry-after'])).toBeGreaterThan(500);
      }
    } finally {
      await limited.close();
    }
  });
});

describe('access tokens', () => {
  it('of another secret, expired, or of no kind of ours are refused alike', async () => {
    const member = await api.register();
    const foreign = await createTestApi({
      beside: api,
      jwtSecrets: ['the secret of another installation, 32 bytes'],
    });
    try {
      const { body } = await post(
        '/auth/login',
        { email: member.email, password: testPassword },
        {},
        foreign,
      );
      for (const token of [body.accessToken, `${member.token}=`, member.refreshToken, 'x', '']) {
        expect(await me(token)).toMatchObject({
          status: 401,
          body: { code: 'unauthenticated' },
          headers: { 'content-type': expect.stringContaining('problem+json') },
        });
      }
    } finally {
      await foreign.close();
    }
    expect(await api.call('GET', '/auth/me')).toMatchObject({
      status: 401,
      headers: { 'www-authenticate': 'Bearer' },
    });
    for (const authorization of ['Basic YTpi', 'Bearer', `Token ${member.token}`, member.token]) {
      expect(await api.call('GET', '/auth/me', { headers: { authorization } })).toMatchObject({
        status: 401,
      });
    }
    expect(await api.call('GET', `/auth/me?access_token=${member.token}`)).toMatchObject({ status: 401 });
    expect(
      await api.call('GET', '/auth/me', { headers: { authorization: `bearer ${member.token}` } }),
    ).toMatchObject({ status: 200 });
  });

  it('expire after their fifteen minutes', async () => {
    const later = await createTestApi({ beside: api });
    try {
      const member = await api.register();
      later.clock.advance(899_000);
      expect(await me(member.token, later)).toMatchObject({ status: 200 });
      later.clock.advance(2_000);
      expect(await me(member.token, later)).toMatchObject({
        status: 401,
        body: { detail: 'The access token has expired.' },
        headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
      });
    } finally {
      await later.close();
    }
  });

  it('stop working within a second in other processes', async () => {
    const other = await createTestApi({ beside: api });
    try {
      const member = await api.register();
      expect(await me(member.token, other)).toMatchObject({ status: 200 });
      expect(
        await post('/auth/logout', undefined, { authorization: `Bearer ${member.token}` }),
      ).toMatchObject({
        status: 204,
      });
      other.clock.advance(1_000);
      expect(await me(member.token, other)).toMatchObject({ status: 401 });
    } finally {
      await other.close();
    }
  });

  it.each(['disabled_at', 'deleted_at'])('stop working when the person is %s', async (column) => {
    const member = await api.register();
    await query(`UPDATE users SET ${column} = now() WHERE id = $1`, [member.userId]);
    api.clock.advance(1_000);
    expect(await me(member.token)).toMatchObject({ status: 401 });
    expect(await post('/auth/refresh', { refreshToken: member.refreshToken })).toMatchObject({ status: 401 });
  });
});

describe('logging out', () => {
  it('ends the session at once, with its refresh token', async () => {
    const member = await api.register();
    expect(await me(member.token)).toMatchObject({ status: 200 });
    const answer = await post('/auth/logout', undefined, { authorization: `Bearer ${member.token}` });
    expect(answer).toMatchObject({ status: 204, body: undefined });
    expect(await me(member.token)).toMatchObject({ status: 401, body: { detail: 'The session has ended.' } });
    expect(await post('/auth/refresh', { refreshToken: member.refreshToken })).toMatchObject({ status: 401 });
  });

  it('works with the refresh token alone, and leaves other sessions', async () => {
    const member = await api.register();
    const other = await post('/auth/login', { email: member.email, password: testPassword });
    expect(await post('/auth/logout', { refreshToken: member.refreshToken })).toMatchObject({ status: 204 });
    expect(await me(member.token)).toMatchObject({ status: 401 });
    expect(await me(other.body.accessToken)).toMatchObject({ status: 200 });
  });

  it('without anything to end does nothing, and tells nothing', async () => {
    for (const [body, headers] of [
      [undefined, {}],
      [{}, {}],
      [{ refreshToken: 'x' }, {}],
      [{ refreshToken: 'x'.repeat(43) }, { authorization: 'Bearer rubbish' }],
    ] as const) {
      expect(await post('/auth/logout', body, headers)).toMatchObject({ status: 204 });
    }
    expect(await post('/auth/logout', { everywhere: true })).toMatchObject({ status: 400 });
  });
});

describe('secrets', () => {
  it('are kept as hashes and never logged', async () => {
    const member = await api.register();
    const rows = JSON.stringify([
      await query('SELECT * FROM users'),
      await query("SELECT encode(hash, 'escape') AS hash FROM refresh_tokens"),
      await query('SELECT * FROM sessions'),
    ]);
    expect(lines.length).toBeGreaterThan(0);
    for (const secret of [testPassword, member.token, member.refreshToken]) {
      expect(rows).not.toContain(secret);
      expect(lines.join('')).not.toContain(secret);
    }
  });
});
