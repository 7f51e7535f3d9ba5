import { describe, expect, it } from 'vitest';

import { Problem } from '../../foundation/problems.js';
import { passwordFault } from './password-rules.js';
import { createPasswords, productCost } from './passwords.js';

const cost = { memoryKib: 64, passes: 1 };

describe('the rules', () => {
  it.each([
    ['short1!', 'at least 8'],
    ['😀😀😀😁', 'at least 8'],
    ['', 'at least 8'],
    ['Password', 'most used'],
    ['12345678', 'neighbouring'],
    ['1234567890', 'neighbouring'],
    ['87654321', 'neighbouring'],
    ['abcdefghij', 'neighbouring'],
    ['aaaaaaaaaaaa', '4 different'],
    ['abababababab', '4 different'],
    ['Ada.Lovelace@Example.com', 'e-mail'],
    ['ada.lovelace', 'e-mail'],
    ['é'.repeat(513), 'at most 1024 bytes'],
    ['x'.repeat(1_000_000), 'at most 1024 bytes'],
  ])('refuse %.30s', (password, reason) => {
    expect(passwordFault(password, 'ada.lovelace@example.com')).toContain(reason);
  });

  it.each([
    'correct-horse-battery',
    'k7#mPq2x',
    'пароль-и-соль',
    ' spaces count ',
    '13572468',
    'a\u0000bcdefgh',
  ])('take %j', (password) => {
    expect(passwordFault(password, 'ada.lovelace@example.com')).toBeUndefined();
  });
});

describe('hashing', () => {
  it('makes argon2id at OWASP’s minimum unless told otherwise', async () => {
    const passwords = await createPasswords({ parallel: 1 });
    expect(productCost).toEqual({ memoryKib: 19_456, passes: 2 });
    const stored = await passwords.hash('correct-horse-battery');
    expect(stored).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await passwords.verify('correct-horse-battery', stored)).toBe(true);
    expect(await passwords.verify('correct-horse-batterx', stored)).toBe(false);
  });

  it('takes the same keys for the same password, however a system spells them', async () => {
    const passwords = await createPasswords({ parallel: 1, cost });
    const stored = await passwords.hash('caf\u00e9-au-lait');
    expect(await passwords.verify('cafe\u0301-au-lait', stored)).toBe(true);
  });

  it('reads a password to its end', async () => {
    const passwords = await createPasswords({ parallel: 1, cost });
    const long = 'x'.repeat(1023);
    const stored = await passwords.hash(`${long}y`);
    expect(await passwords.verify(`${long}z`, stored)).toBe(false);
    expect(await passwords.verify('a', await passwords.hash('a\u0000b'))).toBe(false);
  });

  it('says no to nobody and to what is too long for anybody', async () => {
    const passwords = await createPasswords({ parallel: 1, cost });
    expect(await passwords.verify('correct-horse-battery', undefined)).toBe(false);
    expect(await passwords.verify('x'.repeat(1025), undefined)).toBe(false);
    await expect(passwords.hash('x'.repeat(1025))).rejects.toThrow(RangeError);
  });

  it('knows hashes of another cost', async () => {
    const old = await createPasswords({ parallel: 1, cost: { memoryKib: 32, passes: 1 } });
    const today = await createPasswords({ parallel: 1, cost });
    const stored = await old.hash('correct-horse-battery');
    expect(await today.verify('correct-horse-battery', stored)).toBe(true);
    expect(today.isOutdated(stored)).toBe(true);
    expect(today.isOutdated(await today.hash('correct-horse-battery'))).toBe(false);
  });

  it('refuses when the line is full, and works again once it has emptied', async () => {
    const passwords = await createPasswords({ parallel: 1, maxWaiting: 3, cost });
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () => passwords.verify('correct-horse-battery', undefined)),
    );
    const refused = answers.filter((answer) => answer.status === 'rejected');
    expect(refused.length).toBeGreaterThanOrEqual(16);
    expect(refused.length).toBeLessThan(20);
    for (const { reason } of refused) {
      expect(reason).toBeInstanceOf(Problem);
      expect(reason).toMatchObject({ code: 'overloaded', members: { retryAfter: 2 } });
    }
    expect(await passwords.verify('correct-horse-battery', undefined)).toBe(false);
  });
});
