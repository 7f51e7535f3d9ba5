import { errors, jwtVerify, SignJWT, type CryptoKey, type JWTPayload } from 'jose';

import type { Clock } from '../../foundation/clock.js';
import { isId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';

export interface AccessTokensOptions {
  /**
   * The bytes of each are a key of HS256: the one that signs, then those that still verify. The same in every process of
   * an installation.
   */
  readonly secrets: readonly [string, ...string[]];
  /** `iss` of every token; the same in every process too. */
  readonly issuer: string;
  readonly lifetimeSeconds: number;
  readonly clock: Clock;
}

export interface TokenClaims {
  readonly userId: string;
  readonly sessionId: string;
}

/** Short-lived tokens that name a session (JWT, RFC 7519, in the profile of RFC 9068). */
export interface AccessTokens {
  readonly lifetimeSeconds: number;
  sign(claims: TokenClaims): Promise<string>;
  /** @throws Problem `unauthenticated` for everything that `sign` did not make for now. */
  verify(token: string): Promise<TokenClaims>;
}

const algorithm = 'HS256';
/** Keeps other tokens signed with the same key from being used as this one (RFC 9068 §2.1). */
const type = 'at+jwt';
const audience = 'mediablobkit-api';
/** Ours have some 330 characters. */
const maxLength = 1024;
const shape = /^[\w-]+\.[\w-]+\.([\w-]+)$/;

export async function createAccessTokens(options: AccessTokensOptions): Promise<AccessTokens> {
  // An imported key verifies in a third of the time that raw bytes take (53 µs against 156).
  const [key, ...older] = (await Promise.all(options.secrets.map(keyOf))) as [CryptoKey, ...CryptoKey[]];
  const claims = async (token: string): Promise<JWTPayload> => {
    const rules = {
      algorithms: [algorithm],
      typ: type,
      issuer: options.issuer,
      audience,
      requiredClaims: ['sub', 'sid', 'iat', 'exp'],
      currentDate: new Date(options.clock.now()),
    };
    for (const one of [key, ...older]) {
      try {
        return (await jwtVerify(token, one, rules)).payload;
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
      }
    }
    throw refused('The access token is not valid.');
  };
  return {
    lifetimeSeconds: options.lifetimeSeconds,
    sign({ userId, sessionId }) {
      const now = Math.floor(options.clock.now() / 1000);
      return new SignJWT({ sid: sessionId })
        .setProtectedHeader({ alg: algorithm, typ: type })
        .setIssuer(options.issuer)
        .setAudience(audience)
        .setSubject(userId)
        .setIssuedAt(now)
        .setExpirationTime(now + options.lifetimeSeconds)
        .sign(key);
    },
    async verify(token) {
      if (!isCanonical(token)) throw refused('The access token is not valid.');
      try {
        const { sub, sid } = await claims(token);
        if (typeof sub === 'string' && isId(sub) && typeof sid === 'string' && isId(sid)) {
          return { userId: sub, sessionId: sid };
        }
      } catch (error) {
        if (!(error instanceof errors.JOSEError)) throw error;
        if (error instanceof errors.JWTExpired) throw refused('The access token has expired.');
      }
      throw refused('The access token is not valid.');
    },
  };
}

function keyOf(secret: string): Promise<CryptoKey> {
  return crypto.subtle.importKey(
    'raw',
    Buffer.from(secret, 'utf8'),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign', 'verify'],
  );
}

/** The answer to a bearer token that proves nothing (RFC 6750 §3.1). */
export function refused(detail: string): Problem {
  return new Problem('unauthenticated', {
    detail,
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}

/**
 * One token, one text. jose also takes padding, white space and stray bits at the end of the signature, which
 * would give a revoked or logged token further spellings.
 */
function isCanonical(token: string): boolean {
  const signature = token.length <= maxLength ? shape.exec(token)?.[1] : undefined;
  if (signature === undefined) return false;
  return Buffer.from(signature, 'base64url').toString('base64url') === signature;
}
