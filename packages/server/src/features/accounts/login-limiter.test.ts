import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import {
  createLocalLimiter,
  createSharedLimiter,
  type Limiter,
  type Rate,
} from '../../foundation/limits/limiter.js';
import { newId } from '../../foundation/ids.js';
import { createLoginLimiter, type LoginLimiter } from './login-limiter.js';

let testDatabase: TestDatabase;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
});
afterAll(() => testDatabase.close());

const kinds: Readonly<Record<string, (rate: Rate) => Limiter>> = {
  'in one process': (rate) => createLocalLimiter({ rate }),
  'in all processes': (rate) =>
    createSharedLimiter({ pool: testDatabase.database.pool, name: newId(), rate }),
};

describe.each(Object.entries(kinds))('failed logins, counted %s', (_, create) => {
  let limiter: LoginLimiter;
  beforeEach(() => {
    limiter = createLoginLimiter({
      account: create({ points: 3, seconds: 60 }),
      address: create({ points: 5, seconds: 60 }),
    });
  });

  const fails = (address: string, email: string) => limiter.attempt(address, email, async () => undefined);
  const succeeds = (address: string, email: string) => limiter.attempt(address, email, async () => 'in');
  const full = { code: 'too-many-requests' };

  it('lets a few failures pass, then none until the window ends', async () => {
    limiter = createLoginLimiter({ account: create({ points: 3, seconds: 3 }) });
    for (let n = 0; n < 3; n++) await fails('1.1.1.1', 'ada');
    await expect(succeeds('1.1.1.1', 'ada')).rejects.toMatchObject({
      ...full,
      members: { retryAfter: expect.toSatisfy((seconds: number) => seconds >= 1 && seconds <= 3) as number },
    });
    await expect.poll(() => succeeds('1.1.1.1', 'ada').catch(() => 'out'), { timeout: 10_000 }).toBe('in');
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

  it('takes what the account refuses for no failure of the address', async () => {
    for (let n = 0; n < 3; n++) await fails('1.1.1.1', 'ada');
    for (let n = 0; n < 5; n++) await expect(fails('1.1.1.1', 'ada')).rejects.toMatchObject(full);
    expect(await fails('1.1.1.1', 'grace')).toBeUndefined();
  });
});
