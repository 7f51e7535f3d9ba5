import { expect, it } from 'vitest';

import { keyHash, keyPrefix, newKey } from './key-text.js';

it('a key is the mark, 30 random characters and 6 check digits', () => {
  const keys = Array.from({ length: 200 }, newKey);
  for (const key of keys) {
    expect(key).toMatch(/^mbk_[0-9A-Za-z]{36}$/);
    expect(keyHash(key)).toHaveLength(32);
  }
  expect(new Set(keys).size).toBe(200);
});

it('its check digits stay what they are, whatever version made it', () => {
  // Computed with Python's zlib.
  expect(keyHash('mbk_0000000000000000000000000000002C8GjS')).toHaveLength(32);
  expect(keyHash('mbk_000000000000000000000000000000000000')).toBeUndefined();
});

it('its prefix tells little of it', () => {
  expect(keyPrefix('mbk_abcdefghijklmnop')).toBe('mbk_abcdef');
});

it('every single typing error is noticed', () => {
  const key = newKey();
  for (let index = 0; index < key.length; index++) {
    const wrong = key[index] === 'x' ? 'y' : 'x';
    expect(keyHash(key.slice(0, index) + wrong + key.slice(index + 1))).toBeUndefined();
  }
  const [, a = '', b = ''] = /^mbk_.*?(.)((?!\1).)/.exec(key) ?? [];
  expect(keyHash(key.replace(a + b, b + a))).toBeUndefined();
});

it.each([
  ['empty', () => ''],
  ['cut', (key: string) => key.slice(0, -1)],
  ['longer', (key: string) => `${key}0`],
  ['with a line end', (key: string) => `${key}\n`],
  ['with space', (key: string) => ` ${key}`],
  ['in upper case', (key: string) => key.toUpperCase()],
  ['twice', (key: string) => `${key}, ${key}`],
  ['huge', (key: string) => key.repeat(10_000)],
])('a key that is %s is none', (_name, change) => {
  expect(keyHash(change(newKey()))).toBeUndefined();
});
