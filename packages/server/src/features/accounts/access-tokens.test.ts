import { generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';

import { newId } from '../../foundation/ids.js';
import { createAccessTokens, type AccessTokens } from './access-tokens.js';

const secret = 'the secret of this installation, 32 bytes';
const key = Buffer.from(secret);
const claims = { userId: newId(), sessionId: newId() };
let now = Date.UTC(2026, 10, 1);
const clock = { now: () => now };
let tokens: AccessTokens;
let token: string;

beforeAll(async () => {
  tokens = await createAccessTokens({
    secrets: [secret],
    issuer: 'mediablobkit',
    lifetimeSeconds: 900,
    clock,
  });
  token = await tokens.sign(claims);
});

const seconds = () => Math.floor(now / 1000);
/** A token that is right but for what the test changes. */
function forge(
  change: { header?: object; payload?: object; without?: string },
  signed: Parameters<SignJWT['sign']>[0] = key,
) {
  const payload: Record<string, unknown> = {
    iss: 'mediablobkit',
    aud: 'mediablobkit-api',
    sub: claims.userId,
    sid: claims.sessionId,
    iat: seconds(),
    exp: seconds() + 900,
    ...change.payload,
  };
  if (change.without) payload[change.without] = undefined;
  return new SignJWT(payload)
    .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt', ...change.header })
    .sign(signed);
}

const refusal = { code: 'unauthenticated', members: { detail: 'The access token is not valid.' } };

it('a token says who and which session, and is good until it expires', async () => {
  expect(await tokens.verify(token)).toEqual(claims);
  expect(await tokens.verify(await forge({}))).toEqual(claims);
  now += 899_000;
  expect(await tokens.verify(token)).toEqual(claims);
  now += 1_000;
  await expect(tokens.verify(token)).rejects.toMatchObject({
    code: 'unauthenticated',
    members: { detail: 'The access token has expired.' },
  });
  now -= 900_000;
});

describe('refused are', () => {
  it.each([
    ['another type', { header: { typ: 'JWT' } }],
    ['no type', { header: { typ: undefined } }],
    ['another issuer', { payload: { iss: 'somebody' } }],
    ['another audience', { payload: { aud: 'mediablobkit-links' } }],
    ['no issuer', { without: 'iss' }],
    ['no audience', { without: 'aud' }],
    ['no subject', { without: 'sub' }],
    ['no session', { without: 'sid' }],
    ['no time of issue', { without: 'iat' }],
    ['no expiry', { without: 'exp' }],
    ['a subject that is no id', { payload: { sub: 'admin' } }],
    ['a session that is no id', { payload: { sid: "' or 1=1" } }],
    ['a session that is no text', { payload: { sid: 7 } }],
  ])('%s', async (_name, change) => {
    const forged = await forge(change);
    await expect(tokens.verify(forged)).rejects.toMatchObject(refusal);
  });

  it('another algorithm of the family, with our own key', async () => {
    // HS512 wants a longer key than the others.
    const long = await createAccessTokens({
      secrets: [secret.repeat(2)],
      issuer: 'mediablobkit',
      lifetimeSeconds: 900,
      clock,
    });
    for (const alg of ['HS384', 'HS512']) {
      const forged = await forge({ header: { alg } }, Buffer.from(secret.repeat(2)));
      await expect(long.verify(forged)).rejects.toMatchObject(refusal);
    }
  });

  it('another secret, and an asymmetric key', async () => {
    await expect(tokens.verify(await forge({}, Buffer.from('x'.repeat(40))))).rejects.toMatchObject(refusal);
    const { privateKey } = await generateKeyPair('ES256');
    await expect(tokens.verify(await forge({ header: { alg: 'ES256' } }, privateKey))).rejects.toMatchObject(
      refusal,
    );
  });

  it.each(['none', 'None', 'NONE', 'nOnE'])('no signature (alg %s)', async (alg) => {
    const plain = new UnsecuredJWT({ sid: claims.sessionId })
      .setSubject(claims.userId)
      .setIssuer('mediablobkit')
      .setAudience('mediablobkit-api')
      .setIssuedAt(seconds())
      .setExpirationTime(seconds() + 900)
      .encode();
    const header = Buffer.from(JSON.stringify({ alg, typ: 'at+jwt' })).toString('base64url');
    const [, payload = '', signature = ''] = token.split('.');
    for (const forged of [plain, `${header}.${payload}.`, `${header}.${payload}.${signature}`]) {
      await expect(tokens.verify(forged)).rejects.toMatchObject(refusal);
    }
  });

  it('every other spelling of a good token', async () => {
    const last = token.at(-1) ?? '';
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // The last character carries four bits of the signature and two that nobody reads.
    const twin = alphabet[alphabet.indexOf(last) ^ 1] ?? '';
    for (const spelled of [
      `${token}=`,
      `${token}\n`,
      ` ${token}`,
      `${token} `,
      `${token}.`,
      `.${token}`,
      token.slice(0, -1) + twin,
      token.replaceAll('-', '+').replaceAll('_', '/') + '==',
      token.split('.').slice(0, 2).join('.'),
    ]) {
      await expect(tokens.verify(spelled)).rejects.toMatchObject(refusal);
    }
  });

  it.each(['', '.', '..', 'x', 'a.b.c', '\u0000.\u0000.\u0000', 'ä.ö.ü', `${'a'.repeat(100_000)}.b.c`])(
    'rubbish: %.20j',
    async (rubbish) => {
      await expect(tokens.verify(rubbish)).rejects.toMatchObject(refusal);
    },
  );
});
