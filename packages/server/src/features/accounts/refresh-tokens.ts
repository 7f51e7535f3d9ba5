import { createHash, randomBytes } from 'node:crypto';

/** 32 random bytes in base64url have 43 characters. */
const bytes = 32;
const shape = /^[\w-]{43}$/;

/** A refresh token as its owner gets it, and the hash of it that is stored. */
export interface RefreshToken {
  readonly token: string;
  readonly hash: Buffer;
}

export function newRefreshToken(): RefreshToken {
  const token = randomBytes(bytes).toString('base64url');
  return { token, hash: sha256(token) };
}

/** The hash to look for; undefined for what cannot be one of ours, which costs no query. */
export function refreshTokenHash(token: string): Buffer | undefined {
  return shape.test(token) ? sha256(token) : undefined;
}

/** 256 random bits need no slow hash. */
function sha256(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
