import { expect, it } from 'vitest';

import { base32, codeOf, keyUri, stepAt, stepOfCode } from './totp.js';

const secret = Buffer.from('12345678901234567890');

// RFC 6238, appendix B; the last six of its eight digits.
it.each([
  [59, '287082'],
  [1_111_111_109, '081804'],
  [1_234_567_890, '005924'],
  [20_000_000_000, '353130'],
])('at second %d the code is %s', (second, code) => {
  expect(codeOf(secret, stepAt(second * 1000))).toBe(code);
  expect(stepOfCode(secret, code, second * 1000)).toBe(Math.floor(second / 30));
  expect(stepOfCode(secret, code, (second + 61) * 1000)).toBeUndefined();
});

it('what is no code is of no step', () => {
  for (const text of ['', '28708', '2870822', 'abcdef', '２８７０８２']) {
    expect(stepOfCode(secret, text, 59_000)).toBeUndefined();
  }
});

// RFC 4648, section 10.
it.each([
  ['', ''],
  ['f', 'MY'],
  ['fo', 'MZXQ'],
  ['foo', 'MZXW6'],
  ['foobar', 'MZXW6YTBOI'],
])('%j is %s in base 32', (text, coded) => expect(base32(Buffer.from(text))).toBe(coded));

it('apps read the account and the issuer', () => {
  expect(keyUri(secret, 'a@b.example', 'MediaBlobKit')).toBe(
    `otpauth://totp/MediaBlobKit:a%40b.example?secret=${base32(secret)}&issuer=MediaBlobKit`,
  );
});
