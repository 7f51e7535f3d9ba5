import { createHash } from 'node:crypto';

import { describe, expect, test } from 'vitest';

import { weakness } from './strength.js';

/** Bytes that look random and are the same in every run. */
const noise = (seed: number): Buffer => createHash('sha256').update(`seed ${seed}`).digest();

test('32 random bytes are accepted in every usual spelling', () => {
  for (let seed = 0; seed < 500; seed += 1)
    for (const spelling of ['base64', 'base64url', 'hex'] as const)
      expect(weakness(noise(seed).toString(spelling)), `${seed} ${spelling}`).toBeUndefined();
});

test('a long text with signs of all kinds is accepted', () => {
  expect(weakness('k#9Lz!pQ2@vXw7&Rt5*Yb8(Nm3)Hc6_Jd4+Gf1?~x')).toBeUndefined();
});

describe('refused', () => {
  test.each<[text: string, why: string]>([
    ['', 'it is shorter than 32 characters'],
    ['hunter2', 'it is shorter than 32 characters'],
    [noise(1).toString('base64').slice(0, 31), 'it is shorter than 32 characters'],
    [noise(1).subarray(0, 16).toString('hex'), 'it is too short for the characters it uses'],
    [noise(1).subarray(0, 24).toString('base64'), 'it is too short for the characters it uses'],
    ['a'.repeat(64), 'it holds too few different characters'],
    ['0123456789'.repeat(10), 'it repeats itself'],
    [noise(1).toString('base64url').slice(0, 30).repeat(2), 'it repeats itself'],
    [`${noise(1).toString('hex')}${'0'.repeat(8)}`, 'it repeats itself'],
    [`${noise(1).toString('hex')}ChangeMe`, 'it holds a common word'],
    ['my-super-secret-jwt-signing-key-for-production-2026', 'it holds a common word'],
    ['ABCDEFGHIJKLMNOPQRSTUVWXYZhijklmnopqrstuvwxyz0123456789', 'it holds a common word'],
    ['HIJKLMNOPQRSTUVWXYZhijklmnopqrstuvwxyz0123456789', 'it counts up or down'],
    ['9876543210zyxwvutsrqponmlkjihZYXWVUTSRQPONMLKJIH', 'it counts up or down'],
    [`${noise(1).toString('hex')} and more`, 'it holds blanks or control characters'],
    [noise(1).toString('hex').repeat(100), 'it is longer than 4096 characters'],
  ])('%.20s…: %s', (text, why) => {
    expect(weakness(text)).toBe(why);
  });
});
