import { createHash, randomBytes } from 'node:crypto';

/** 32 random bytes in base64url have 43 characters. */
const bytes = 32;
const shape = /^[\w-]{43}$/;

/** A secret as its owner gets it (a refresh token, the end of a link), and the hash of it that is stored. */
export interface RandomSecret {
  readonly text: string;
  readonly hash: Buffer;
}

export function newSecret(): RandomSecret {
  const text = randomBytes(bytes).toString('base64url');
  return { text, hash: sha256(text) };
}

/** The hash to look for; undefined for what cannot be one of ours, which costs no query. */
export function secretHash(text: string): Buffer | undefined {
  return shape.test(text) ? sha256(text) : undefined;
}

/** 256 random bits need no slow hash. */
function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
