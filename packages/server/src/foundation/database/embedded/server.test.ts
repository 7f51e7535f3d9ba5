import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { startFailure } from './cluster.js';
import { inWords } from './embedded-error.js';
import { boundLog } from './server.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mbk-server-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('a log that has grown is cut, and what it said is kept once', () => {
  const log = join(folder, 'log');
  boundLog(log);
  writeFileSync(log, Buffer.alloc(4 * 1024 * 1024));
  boundLog(log);
  expect(statSync(log).size).toBe(4 * 1024 * 1024);
  writeFileSync(log, Buffer.alloc(4 * 1024 * 1024 + 1));
  boundLog(log);
  expect([statSync(log).size, statSync(`${log}.1`).size]).toEqual([0, 4 * 1024 * 1024 + 1]);
});

test('what PostgreSQL says before it gives up becomes a sentence', () => {
  const said =
    '2026-11-24 15:23:35 UTC [1] LOG:  hm\n2026-11-24 15:23:35 UTC [1] FATAL:  could not map memory\nHINT: more';
  expect(startFailure('/data/postgres', said).message).toBe(
    'The embedded PostgreSQL in /data/postgres does not start: could not map memory.',
  );
  expect(startFailure('/data/postgres', 'x\nFATAL: could not write: No space left on device')).toMatchObject({
    trouble: 'disk-full',
  });
});

test.each([
  ['ENOSPC', 'There is no space left for the database in /d.'],
  ['EROFS', '/d is on a read-only file system; choose another MBK_DATA_FOLDER, or set DATABASE_URL.'],
])('a fault of the file system (%s) becomes a sentence', (code, sentence) => {
  expect(inWords(Object.assign(new Error('write'), { code }), '/d')).toMatchObject({ message: sentence });
});
