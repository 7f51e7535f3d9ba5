import { beforeEach, expect, it } from 'vitest';

import { createLoginLimiter, type LoginLimiter } from './login-limiter.js';

let now = 0;
let limiter: LoginLimiter;
beforeEach(() => {
  now = 1_000_000;
  limiter = createLoginLimiter({ now: () => now }, { perAccount: 3, perAddress: 5, windowSeconds: 60 });
});

const fails = (address: string, email: string) => limiter.attempt(address, email, async () => undefined);
const succeeds = (address: string, email: string) => limiter.attempt(address, email, async () => 'in');
const full = { code: 'too-many-requests' };

it('lets a few failures pass, then none until the window ends', async () => {
  for (let n = 0; n < 3; n++) await fails('1.1.1.1', 'ada');
  now += 10_000;
  await expect(succeeds('1.1.1.1', 'ada')).rejects.toMatchObject({ ...full, members: { retryAfter: 50 } });
  now += 50_000;
  expect(await succeeds('1.1.1.1', 'ada')).toBe('in');
});

it('never locks an account because of failures from elsewhere', async () => {
  for (let n = 0; n < 3; n++) await fails('1.1.1.1', 'ada');
  expect(await succeeds('2.2.2.2', 'ada')).toBe('in');
});

it('counts an address over all accounts too', async () => {
  for (let n = 0; n < 5; n++) await fails('1.1.1.1', `person-${n}`);
  await expect(succeeds('1.1.1.1', 'ada')).rejects.toMatchObject(full);
});

it('forgets an account’s failures when its owner comes in', async () => {
  for (let n = 0; n < 2; n++) await fails('1.1.1.1', 'ada');
  await succeeds('1.1.1.1', 'ada');
  for (let n = 0; n < 2; n++) await fails('1.1.1.1', 'ada');
  expect(await succeeds('1.1.1.1', 'ada')).toBe('in');
});

it('counts attempts that are still being judged', async () => {
  const answers = await Promise.allSettled(Array.from({ length: 10 }, () => fails('1.1.1.1', 'ada')));
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
});

it('does not count what could not be judged', async () => {
  for (let n = 0; n < 10; n++) {
    await expect(
      limiter.attempt('1.1.1.1', 'ada', () => Promise.reject(new Error('no database'))),
    ).rejects.toThrow('no database');
  }
  expect(await succeeds('1.1.1.1', 'ada')).toBe('in');
});
