import { createHash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** What every key begins with, for people and for scanners that look for leaked secrets. */
export const keyMark = 'mbk_';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 30 characters of 62 are 178 random bits. */
const randomLength = 30;
/** A CRC-32 in base 62 has up to six digits. */
const checkLength = 6;
const shape = new RegExp(`^${keyMark}([0-9A-Za-z]{${randomLength}})([0-9A-Za-z]{${checkLength}})$`);
/** Characters that stay readable in lists: the mark and 36 of the 178 bits. */
const prefixLength = keyMark.length + 6;

/** A new key: the mark, random characters, and their check digits. */
export function newKey(): string {
  const random = Array.from({ length: randomLength }, () => alphabet.charAt(randomInt(62))).join('');
  return keyMark + random + checkDigits(random);
}

/** The part of a key that lists show. */
export function keyPrefix(key: string): string {
  return key.slice(0, prefixLength);
}

/**
 * What is stored of a key and looked for. Undefined for a text that is no key of ours: a typing error or a
 * guess fails the check digits and costs no query. A key has 178 random bits, so a fast hash is enough.
 */
export function keyHash(text: string): Buffer | undefined {
  const [, random, check] = shape.exec(text) ?? [];
  if (random === undefined || check !== checkDigits(random)) return undefined;
  return createHash('sha256').update(text).digest();
}

const anywhere = new RegExp(`${keyMark}[0-9A-Za-z]{${randomLength + checkLength}}`, 'g');

/** Whether a text (a URL, a log line) holds what is a key by its check digits. */
export function holdsKey(text: string): boolean {
  if (!text.includes(keyMark)) return false;
  return [...text.matchAll(anywhere)].some(([key]) => keyHash(key) !== undefined);
}

/** CRC-32 of the random part, in base 62, as GitHub's tokens carry it. */
function checkDigits(random: string): string {
  let rest = crc32(random);
  let digits = '';
  for (let index = 0; index < checkLength; index++) {
    digits = alphabet.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
