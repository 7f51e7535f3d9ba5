import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import pg from 'pg';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import { createLog, type Log } from '../log.js';
import { migrate, migrationStatus } from './migrate.js';
import { refuseOld } from './wait.js';

const script = fileURLToPath(new URL('../../../test/migrate-process.ts', import.meta.url));
const real = fileURLToPath(new URL('../../../migrations/', import.meta.url));
const tsx = import.meta.resolve('tsx');

let log: Log;
let given: TestDatabase;
let folder: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  log = await createLog({ level: 'silent', pretty: false });
});

beforeEach(async () => {
  given = await createTestDatabase({ empty: true });
  folder = mkdtempSync(join(tmpdir(), 'mbk-migrate-'));
  file('0001_plants.sql', 'CREATE TABLE plants (id integer);');
  file('0002_pots.sql', 'CREATE TABLE pots (id integer);');
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  }
  rmSync(folder, { recursive: true });
  await given.close();
});

function file(name: string, sql: string): void {
  writeFileSync(join(folder, name), sql);
}

function run(): ReturnType<typeof migrate> {
  return migrate({ url: given.url, folder, log });
}

function runInOtherProcess(migrations: string): {
  child: ChildProcess;
  answer: Promise<unknown>;
  ended: Promise<unknown>;
} {
  const child = spawn(process.execPath, ['--import', tsx, script, given.url, migrations], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return {
    child,
    ended: once(child, 'exit'),
    answer: text(child.stdout).then((line): unknown => (line === '' ? undefined : JSON.parse(line))),
  };
}

async function tables(): Promise<string[]> {
  const { rows } = await given.database.pool.query<{ tablename: string }>(
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
  );
  return rows.map(({ tablename }) => tablename);
}

test('applies what is pending, in order, once', async () => {
  expect(await run()).toEqual({ applied: ['0001_plants', '0002_pots'], version: 2 });
  expect(await run()).toEqual({ applied: [], version: 2 });
  file('0003_soil.sql', 'CREATE TABLE soil (id integer);');
  expect(await migrationStatus({ url: given.url, folder })).toMatchObject({
    applied: [{ version: 1, name: '0001_plants' }, { version: 2 }],
    pending: [{ version: 3, name: '0003_soil' }],
  });
  expect(await run()).toEqual({ applied: ['0003_soil'], version: 3 });
  expect(await tables()).toEqual(['plants', 'pots', 'schema_migrations', 'soil']);
});

test('the status of an empty database changes nothing', async () => {
  expect((await migrationStatus({ url: given.url, folder })).pending).toHaveLength(2);
  expect(await tables()).toEqual([]);
});

test('a step that fails leaves nothing of itself, and those before it stay', async () => {
  file('0002_pots.sql', 'CREATE TABLE pots (id integer);\nCREATE TABLE pots (id integer);');
  file('0003_soil.sql', 'CREATE TABLE soil (id integer);\nSELEKT;');
  await expect(run()).rejects.toThrow('Migration 0002_pots failed: relation "pots" already exists.');
  file('0002_pots.sql', 'CREATE TABLE pots (id integer);');
  await expect(run()).rejects.toThrow(/^Migration 0003_soil failed at line 2: syntax error/);
  expect(await tables()).toEqual(['plants', 'pots', 'schema_migrations']);
});

test('a schema newer than the program is refused', async () => {
  await run();
  rmSync(join(folder, '0002_pots.sql'));
  await expect(run()).rejects.toMatchObject({
    name: 'MigrationError',
    trouble: 'schema-too-new',
    message: expect.stringContaining('schema version 2 (0002_pots), and this program knows 1'),
  });
});

test('an applied file that was edited is refused, whatever its line ends are', async () => {
  file('0001_plants.sql', 'CREATE TABLE\nplants (id integer);');
  await run();
  file('0001_plants.sql', 'CREATE TABLE\r\nplants (id integer);');
  expect((await run()).applied).toEqual([]);
  file('0001_plants.sql', 'CREATE TABLE plants (id bigint);');
  await expect(run()).rejects.toMatchObject({ trouble: 'edited' });
});

test('a number below the last applied one is refused', async () => {
  file('0004_late.sql', 'SELECT 1;');
  await run();
  file('0003_early.sql', 'SELECT 1;');
  await expect(run()).rejects.toMatchObject({ trouble: 'out-of-order' });
});

test.each([['0002_twice.sql'], ['3_soil.sql'], ['0003 soil.sql']])(
  'a file named %s is refused',
  async (name) => {
    file(name, 'SELECT 1;');
    await expect(run()).rejects.toMatchObject({ trouble: 'bad-file' });
  },
);

test('PostgreSQL 14 is refused, 15 is not', () => {
  expect(() => refuseOld(140_020)).toThrow(
    'The database server is PostgreSQL 14; MediaBlobKit needs 15 or newer.',
  );
  expect(() => refuseOld(150_000)).not.toThrow();
});

test('four processes at once apply each real migration once', async () => {
  const others = [1, 2, 3, 4].map(() => runInOtherProcess(real));
  const answers = (await Promise.all(others.map(({ answer }) => answer))) as { applied: string[] }[];
  const applied = answers.flatMap((answer) => answer.applied).sort();
  const { pending, applied: rows } = await migrationStatus({ url: given.url, folder: real });
  expect(pending).toEqual([]);
  expect(applied).toEqual(rows.map(({ name }) => name));
  expect(applied.length).toBeGreaterThanOrEqual(5);
  await Promise.all(others.map(({ ended }) => ended));
});

test('a kill −9 in the middle leaves whole steps, and the next process goes on', async () => {
  file('0002_pots.sql', 'CREATE TABLE pots (id integer);\nSELECT pg_sleep(60);');
  const other = runInOtherProcess(folder);
  const asleep =
    "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND datname = current_database()";
  await expect
    .poll(async () => (await given.database.pool.query(asleep)).rowCount, { timeout: 10_000 })
    .toBe(1);
  other.child.kill('SIGKILL');
  expect(await other.answer).toBeUndefined();
  expect(await tables()).toEqual(['plants', 'schema_migrations']);
  file('0002_pots.sql', 'CREATE TABLE pots (id integer);');
  expect((await run()).applied).toEqual(['0002_pots']);
});

test('waiting for another migrator is bounded', async () => {
  const blocker = new pg.Client({ connectionString: given.url });
  await blocker.connect();
  await blocker.query('BEGIN; SELECT pg_advisory_xact_lock(1835166573)');
  await expect(migrate({ url: given.url, folder, log, lockWaitMs: 50 })).rejects.toMatchObject({
    trouble: 'locked',
  });
  await blocker.query('COMMIT');
  await blocker.end();
  expect((await run()).applied).toHaveLength(2);
});
