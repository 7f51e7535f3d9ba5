import { createHash } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { Problem } from '../problems.js';
import { parseContentDigest } from './content-digest.js';

const digest = (algorithm: string): Buffer => createHash(algorithm).update('hello').digest();
const sha256 = digest('sha256').toString('base64');
const sha512 = digest('sha512').toString('base64');

describe('Content-Digest', () => {
  it.each([
    ['of one algorithm', `sha-256=:${sha256}:`, ['sha-256']],
    ['of two', `sha-256=:${sha256}:, sha-512=:${sha512}:`, ['sha-256', 'sha-512']],
    ['without spaces', `sha-512=:${sha512}:,sha-256=:${sha256}:`, ['sha-256', 'sha-512']],
    ['without padding', `sha-256=:${sha256.replace('=', '')}:`, ['sha-256']],
    ['with unknown algorithms', `md5=:AAAA:, sha-256=:${sha256}:, unixsum=:AA==:`, ['sha-256']],
    ['with parameters', `sha-256=:${sha256}:;a=1;b`, ['sha-256']],
    ['of unknown algorithms only', 'crc32c=:AAAAAA==:', []],
    ['that is empty', '', []],
    ['that is not there', undefined, []],
  ])('%s is read', (_name, field, algorithms) => {
    const digests = parseContentDigest(field);
    expect([...digests.keys()].sort()).toEqual(algorithms);
    for (const [algorithm, found] of digests) {
      expect(found.equals(digest(algorithm.replace('-', '')))).toBe(true);
    }
  });

  it('counts the last of a repeated algorithm', () => {
    const zeros = Buffer.alloc(32).toString('base64');
    const digests = parseContentDigest(`sha-256=:${zeros}:, sha-256=:${sha256}:`);
    expect(digests.get('sha-256')?.toString('base64')).toBe(sha256);
  });

  it.each([
    ['as the old Digest field', `sha-256=${sha256}`],
    ['with hexadecimal digits', `sha-256=:${digest('sha256').toString('hex')}:`],
    ['with a digest that is too short', 'sha-256=:AAAA:'],
    ['with a digest of another length', `sha-512=:${sha256}:`],
    ['with an upper-case name', `SHA-256=:${sha256}:`],
    ['with spaces inside', `sha-256 = :${sha256}:`],
    ['with other base64', 'sha-256=:____:'],
    ['with a comma at its end', `sha-256=:${sha256}:,`],
    ['with something behind', `sha-256=:${sha256}: x`],
    ['with an open value', `sha-256=:${sha256}`],
    ['with a text for an unknown algorithm', 'other="text"'],
    ['without a value', 'sha-256'],
  ])('%s is refused', (_name, field) => {
    expect(() => parseContentDigest(field)).toThrow(Problem);
  });

  it('of 16 KB that fits nothing is refused at once', () => {
    const started = performance.now();
    expect(() => parseContentDigest(`a=::${';a=a'.repeat(4_000)}"`)).toThrow(Problem);
    expect(() => parseContentDigest(`a=:${'A'.repeat(16_000)}`)).toThrow(Problem);
    expect(performance.now() - started).toBeLessThan(500);
  });
});
