import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../test/api.js';
import { deleteEndedSessions } from './session-queries.js';

let api: TestApi;
let secure: TestApi;
beforeAll(async () => {
  api = await createTestApi();
  secure = await createTestApi({ beside: api, publicUrl: 'https://media.example.com/api' });
});
afterAll(async () => {
  await secure.close();
  await api.close();
});

const refresh = (refreshToken: string) => api.call('POST', '/auth/refresh', { body: { refreshToken } });
const me = (token: string) => api.call('GET', '/auth/me', { token });
/** Lets time pass for the tokens that were used. */
const age = (seconds: number) =>
  api.database.pool.query('UPDATE refresh_tokens SET used_at = used_at - make_interval(secs => $1)', [
    seconds,
  ]);

describe('a refresh token', () => {
  it('is exchanged for the next one, and the session goes on', async () => {
    const member = await api.register();
    let token = member.refreshToken;
    for (let n = 0; n < 3; n++) {
      const answer = await refresh(token);
      expect(answer).toMatchObject({ status: 200, body: { expiresIn: 900 } });
      expect(answer.body.refreshToken).not.toBe(token);
      expect(await me(answer.body.accessToken)).toMatchObject({ status: 200, body: { id: member.userId } });
      token = answer.body.refreshToken;
      await age(60);
    }
    expect(await me(member.token)).toMatchObject({ status: 200 });
  });

  it('that is used again revokes the whole session, at once', async () => {
    const member = await api.register();
    const second = (await refresh(member.refreshToken)).body;
    const third = (await refresh(second.refreshToken)).body;
    expect(await me(third.accessToken)).toMatchObject({ status: 200 });
    expect(await refresh(member.refreshToken)).toMatchObject({
      status: 401,
      body: { code: 'unauthenticated' },
    });
    for (const { accessToken } of [second, third])
      expect(await me(accessToken)).toMatchObject({ status: 401 });
    expect(await refresh(third.refreshToken)).toMatchObject({ status: 401 });
    const { rows } = await api.database.pool.query<{ revoked_reason: string }>(
      'SELECT revoked_reason FROM sessions WHERE user_id = $1',
      [member.userId],
    );
    expect(rows).toEqual([{ revoked_reason: 'refresh-token-reused' }]);
  });

  it('whose answer was lost is taken once more within ten seconds', async () => {
    const member = await api.register();
    await refresh(member.refreshToken);
    await age(9);
    const again = await refresh(member.refreshToken);
    expect(again).toMatchObject({ status: 200 });
    expect(await refresh(again.body.refreshToken)).toMatchObject({ status: 200 });
  });

  it('whose answer was lost is not taken after ten seconds', async () => {
    const member = await api.register();
    const next = (await refresh(member.refreshToken)).body;
    await age(11);
    expect(await refresh(member.refreshToken)).toMatchObject({ status: 401 });
    expect(await me(next.accessToken)).toMatchObject({ status: 401 });
  });

  it('does not renew its grace by being repeated', async () => {
    const member = await api.register();
    await refresh(member.refreshToken);
    await age(6);
    expect(await refresh(member.refreshToken)).toMatchObject({ status: 200 });
    await age(6);
    expect(await refresh(member.refreshToken)).toMatchObject({ status: 401 });
  });

  it('used by several tabs at once keeps them all logged in', async () => {
    const member = await api.register();
    const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(member.refreshToken)));
    expect(answers.map(({ status }) => status)).toEqual(Array<number>(8).fill(200));
    expect(new Set(answers.map(({ body }) => String(body.refreshToken))).size).toBe(8);
    await age(60);
    expect(await refresh(answers[3]?.body.refreshToken)).toMatchObject({ status: 200 });
  });

  it('that has expired, or whose session has, is refused', async () => {
    const [one, two] = [await api.register(), await api.register()];
    const expire = (table: 'sessions' | 'refresh_tokens', member: Member) =>
      api.database.pool.query(
        table === 'sessions'
          ? "UPDATE sessions SET expires_at = now() - interval '2 days' WHERE user_id = $1"
          : `UPDATE refresh_tokens SET expires_at = now() - interval '1 second'
             WHERE session_id IN (SELECT id FROM sessions WHERE user_id = $1)`,
        [member.userId],
      );
    await expire('refresh_tokens', one);
    await expire('sessions', two);
    for (const { refreshToken } of [one, two])
      expect(await refresh(refreshToken)).toMatchObject({ status: 401 });
    api.clock.advance(1_000);
    expect(await me(one.token)).toMatchObject({ status: 200 });
    expect(await me(two.token)).toMatchObject({ status: 401 });
    expect(await deleteEndedSessions(api.database.db, 100)).toBe(1);
    expect(await deleteEndedSessions(api.database.db, 100)).toBe(0);
    expect(await me(one.token)).toMatchObject({ status: 200 });
  });

  it('that never was gets one answer, whatever it looks like', async () => {
    const unknown = await refresh('x'.repeat(43));
    expect(unknown).toMatchObject({ status: 401, body: { code: 'unauthenticated' } });
    for (const token of ['', 'x', `${'x'.repeat(43)}=`, "' or 1=1 --", 'ä'.repeat(43), '\u0000'.repeat(43)]) {
      expect(await refresh(token)).toMatchObject({ status: 401, text: unknown.text });
    }
  });

  it.each([
    [undefined, 401, 'unauthenticated'],
    [{}, 401, 'unauthenticated'],
    [{ refreshToken: 7 }, 400, 'invalid-request'],
    [{ refreshToken: 'x'.repeat(201) }, 400, 'invalid-request'],
    [{ refreshToken: 'x', more: 1 }, 400, 'invalid-request'],
    [[], 400, 'invalid-request'],
    ['{', 400, 'malformed-body'],
  ])('in the body %.30j answers %i %s', async (body, status, code) => {
    const answer = await api.call('POST', '/auth/refresh', body === undefined ? {} : { body });
    expect(answer).toMatchObject({ status, body: { code } });
  });
});

describe('the cookie of browsers', () => {
  const page = { origin: 'http://localhost:8420', host: 'localhost:8420' };
  const tokenOf = (header: unknown) => /^[\w-]+=([\w-]+);/.exec(String(header))?.[1] ?? '';
  let people = 0;
  async function logIn(on: TestApi, headers: Record<string, string>) {
    const email = `browser-${people++}@example.com`;
    const answer = await on.call('POST', '/auth/register', {
      body: { email, password: 'correct-horse-battery' },
      headers,
    });
    return answer.headers['set-cookie'];
  }

  it('is set for pages of this server only', async () => {
    const set = await logIn(api, page);
    expect(set).toMatch(/^mbk_refresh=[\w-]{43}; Max-Age=2592000; Path=\/; HttpOnly; SameSite=Strict$/);
    expect(await logIn(api, { origin: 'http://127.0.0.1:9', host: '127.0.0.1:9' })).toBeDefined();
    expect(await logIn(api, { origin: 'https://evil.example', host: 'localhost:8420' })).toBeUndefined();
    expect(await logIn(api, { origin: 'null', host: 'localhost:8420' })).toBeUndefined();
    expect(await logIn(api, {})).toBeUndefined();
  });

  it('has the __Host- prefix and Secure over https', async () => {
    expect(await logIn(secure, { origin: 'https://media.example.com' })).toMatch(
      /^__Host-mbk_refresh=[\w-]{43}; Max-Age=2592000; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
    );
    expect(
      await logIn(secure, { origin: 'http://media.example.com', host: 'media.example.com' }),
    ).toBeUndefined();
  });

  it('refreshes without showing the token to scripts', async () => {
    const first = tokenOf(await logIn(api, page));
    const answer = await api.call('POST', '/auth/refresh', {
      headers: { ...page, cookie: `theme=dark; mbk_refresh=${first}` },
    });
    expect(answer).toMatchObject({ status: 200, body: { expiresIn: 900 } });
    expect(answer.body.refreshToken).toBeUndefined();
    const second = tokenOf(answer.headers['set-cookie']);
    expect(second).toHaveLength(43);
    expect(second).not.toBe(first);
    expect(await me(answer.body.accessToken)).toMatchObject({ status: 200 });
  });

  it('counts for no other page, and not without an origin', async () => {
    const token = tokenOf(await logIn(api, page));
    for (const path of ['/auth/refresh', '/auth/logout']) {
      for (const origin of [
        undefined,
        'https://evil.example',
        'null',
        'https://localhost:8420',
        'http://localhost:8421',
        'http://localhost:8420.evil.example',
      ]) {
        const answer = await api.call('POST', path, {
          headers: {
            host: 'localhost:8420',
            ...(origin === undefined ? {} : { origin }),
            cookie: `mbk_refresh=${token}`,
          },
        });
        expect(answer).toMatchObject({ status: 403, body: { code: 'forbidden' } });
      }
    }
    expect(await refresh(token)).toMatchObject({ status: 200 });
  });

  it('is removed by logging out', async () => {
    const token = tokenOf(await logIn(api, page));
    const answer = await api.call('POST', '/auth/logout', {
      headers: { ...page, cookie: `mbk_refresh=${token}` },
    });
    expect(answer).toMatchObject({
      status: 204,
      headers: { 'set-cookie': expect.stringContaining('mbk_refresh=; Max-Age=0') },
    });
    expect(await refresh(token)).toMatchObject({ status: 401 });
  });
});
