import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { processToken } from './process-table.js';
import { withStartLock } from './start-lock.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mbk-lock-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('one works at a time, and all have their turn', async () => {
  let inside = 0;
  const turns = await Promise.all(
    Array.from({ length: 8 }, () =>
      withStartLock(folder, async () => {
        inside += 1;
        const together = inside;
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
        return together;
      }),
    ),
  );
  expect(turns).toEqual(Array(8).fill(1));
});

test('the lock is free again after work that failed', async () => {
  await expect(withStartLock(folder, () => Promise.reject(new Error('spilt')))).rejects.toThrow('spilt');
  expect(await withStartLock(folder, async () => 'dry', 0)).toBe('dry');
});

test.each([
  ['is no more', `${2 ** 22 + 1} boot 1`],
  ['had our pid before us', `${process.pid} boot 1`],
])('a holder that %s holds nothing', async (_name, holder) => {
  writeFileSync(join(folder, '41'), holder);
  expect(await withStartLock(folder, async () => readFileSync(join(folder, '42'), 'utf8'), 0)).toBe(
    processToken(),
  );
});

test('a living holder is waited for, but not for ever', async () => {
  writeFileSync(join(folder, '7'), processToken()!);
  await expect(withStartLock(folder, async () => 'never', 0)).rejects.toThrow(
    `Process ${process.pid} has been starting or stopping the embedded database for too long.`,
  );
});

test('numbers do not pile up, and the highest stays', async () => {
  for (let turn = 0; turn < 5; turn += 1) await withStartLock(folder, async () => undefined);
  expect(readdirSync(folder)).toEqual(['5']);
});
