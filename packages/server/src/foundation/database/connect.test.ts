import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectSocket, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import { createLog, type Log } from '../log.js';
import { openDatabase, type Database } from './connect.js';
import {
  isCheckViolation,
  isConnectionError,
  isForeignKeyViolation,
  isRetryable,
  isStatementTimeout,
  isUniqueViolation,
} from './errors.js';
import { waitForDatabase } from './wait.js';

let log: Log;
let given: TestDatabase;
const opened: Database[] = [];

beforeAll(async () => {
  log = await createLog({ level: 'silent', pretty: false });
  given = await createTestDatabase();
  await given.database.pool.query(
    `CREATE TABLE pots (id integer CONSTRAINT pots_key PRIMARY KEY CHECK (id >= 0),
                        inside integer REFERENCES pots)`,
  );
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close(0)));
  await given.database.pool.query('TRUNCATE pots');
});

afterAll(async () => {
  await given.close();
});

function open(options: Partial<Parameters<typeof openDatabase>[0]> = {}): Database {
  const database = openDatabase({
    url: given.url,
    poolSize: 3,
    statementTimeoutMs: 5_000,
    lockTimeoutMs: 2_000,
    applicationName: 'pots',
    log,
    ...options,
  });
  opened.push(database);
  return database;
}

/** The error that `work` rejects with. */
async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.fail('nothing failed'),
    (error: unknown) => error,
  );
}

describe('lost connections', () => {
  test('a query under way rejects, and the next one gets a new connection', async () => {
    const database = open();
    const { rows } = await database.pool.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const failed = failure(sql`select pg_sleep(30)`.execute(database.db));
    await given.database.pool.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1', [
      rows[0]?.pid,
    ]);
    expect(isConnectionError(await failed)).toBe(true);
    await database.check();
  });

  test('a transaction that idles on a lost connection rejects, and the process stays up', async () => {
    const database = open();
    const failed = failure(
      database.db.transaction().execute(async (tx) => {
        const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx);
        await given.database.pool.query('SELECT pg_terminate_backend($1, 5000)', [rows[0]?.pid]);
        await sql`select 1`.execute(tx);
      }),
    );
    expect(isConnectionError(await failed)).toBe(true);
    await database.check();
  });

  test('idle connections that the server ends are replaced', async () => {
    const database = open();
    await Promise.all([1, 2, 3].map(() => database.pool.query('SELECT pg_sleep(0.05)')));
    expect(database.pool.totalCount).toBe(3);
    await given.database.pool.query(
      "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'pots'",
    );
    await expect.poll(() => database.pool.totalCount).toBe(0);
    await database.check();
  });

  test('close cuts what is still in use', async () => {
    const database = open();
    const failed = failure(database.pool.query('SELECT pg_sleep(1)'));
    await expect.poll(() => database.pool.totalCount).toBe(1);
    await database.close(10);
    expect(isConnectionError(await failed)).toBe(true);
  });
});

describe('limits', () => {
  test('a statement that runs too long is cancelled', async () => {
    const database = open({ statementTimeoutMs: 50 });
    expect(isStatementTimeout(await failure(database.pool.query('SELECT pg_sleep(30)')))).toBe(true);
  });

  test.each([false, true])('waiting for a lock is bounded, and retryable (pooled: %s)', async (pooled) => {
    const database = open({ lockTimeoutMs: 50, pooled });
    await given.database.db.transaction().execute(async (tx) => {
      await sql`lock table pots`.execute(tx);
      const waiting = database.db.transaction().execute((other) => sql`lock table pots`.execute(other));
      expect(isRetryable(await failure(waiting))).toBe(true);
    });
  });

  test('behind a pooler every transaction sets its limits and leaves none behind', async () => {
    const database = open({ pooled: true, poolSize: 1, statementTimeoutMs: 1_234 });
    const limit = sql<{ limit: string }>`select current_setting('statement_timeout') as limit`;
    const inside = await database.db
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (tx) => [
        (await limit.execute(tx)).rows[0]?.limit,
        (await sql<{ level: string }>`select current_setting('transaction_isolation') as level`.execute(tx))
          .rows[0]?.level,
      ]);
    expect(inside).toEqual(['1234ms', 'serializable']);
    expect((await limit.execute(database.db)).rows[0]?.limit).toBe('0');
  });
});

describe('errors by name', () => {
  test('violations are told apart, by constraint when asked', async () => {
    const { pool } = open();
    await pool.query('INSERT INTO pots VALUES (1)');
    const unique = await failure(pool.query('INSERT INTO pots VALUES (1)'));
    expect([isUniqueViolation(unique), isUniqueViolation(unique, 'pots_key')]).toEqual([true, true]);
    expect([isUniqueViolation(unique, 'other'), isForeignKeyViolation(unique)]).toEqual([false, false]);
    expect(isForeignKeyViolation(await failure(pool.query('INSERT INTO pots VALUES (2, 3)')))).toBe(true);
    expect(isCheckViolation(await failure(pool.query('INSERT INTO pots VALUES (-1)')))).toBe(true);
    expect(isConnectionError(unique)).toBe(false);
  });

  test('bigint columns are numbers', async () => {
    const { rows } = await open().pool.query<{ size: unknown }>('SELECT 9007199254740991::bigint AS size');
    expect(rows).toEqual([{ size: 9007199254740991 }]);
  });

  test.each([
    ['a port nobody listens on', 'postgres://x@127.0.0.1:9/x'],
    ['a socket that is not there', 'postgres://x@localhost/x?host=%2Fnowhere'],
  ])('%s is a connection error', async (_name, url) => {
    expect(isConnectionError(await failure(open({ url }).check()))).toBe(true);
  });

  test('a missing file is none', () => {
    expect(isConnectionError(Object.assign(new Error('ENOENT'), { code: 'ENOENT', syscall: 'open' }))).toBe(
      false,
    );
  });
});

describe('waiting for the server', () => {
  let folder: string;
  let server: Server | undefined;
  const sockets: Socket[] = [];

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'mbk-wait-'));
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server?.close();
    server = undefined;
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  /** The test server seen through a socket of ours; refuses parameters that PgBouncer refuses, when told to. */
  async function listen({ likePgBouncer }: { likePgBouncer: boolean }): Promise<void> {
    server = createServer((client) => {
      sockets.push(client);
      client.on('error', () => undefined);
      client.once('data', (startup) => {
        if (likePgBouncer && startup.includes('statement_timeout')) {
          client.end(protocolViolation('unsupported startup parameter: statement_timeout'));
          return;
        }
        const target = new pg.Client({ connectionString: given.url });
        const upstream = target.host.startsWith('/')
          ? connectSocket(`${target.host}/.s.PGSQL.${target.port}`)
          : connectSocket(target.port, target.host);
        sockets.push(upstream);
        upstream.on('error', () => undefined);
        upstream.write(startup);
        client.pipe(upstream).pipe(client);
      });
    }).listen(join(folder, '.s.PGSQL.5432'));
    await once(server, 'listening');
  }

  function url(): string {
    const through = new URL(given.url);
    through.search = '';
    through.hostname = 'localhost';
    through.port = '';
    through.searchParams.set('host', folder);
    return through.href;
  }

  test('a server that comes up later is waited for', async () => {
    const waiting = waitForDatabase({ url: url(), log, timeoutMs: 10_000 });
    await listen({ likePgBouncer: false });
    const { versionNumber, pooled } = await waiting;
    expect(versionNumber).toBeGreaterThanOrEqual(150_000);
    expect(pooled).toBe(false);
  });

  test('a transaction pooler is recognised, and the pool works through it', async () => {
    await listen({ likePgBouncer: true });
    expect(await waitForDatabase({ url: url(), log })).toMatchObject({ pooled: true });
    await open({ url: url(), pooled: true }).check();
    await expect(open({ url: url() }).check()).rejects.toThrow('unsupported startup parameter');
  });

  test('it gives up with a sentence that holds no password', async () => {
    const waiting = waitForDatabase({ url: 'postgres://me:hush@127.0.0.1:9/x', log, timeoutMs: 0 });
    const error = (await failure(waiting)) as Error;
    expect(error.message).toMatch(
      /^The database at 127\.0\.0\.1:9 did not answer within 0 s: .*ECONNREFUSED/,
    );
    expect(error.message).not.toContain('hush');
  });

  test('a refusal is not waited out', async () => {
    const missing = new URL(given.url);
    missing.pathname = '/no_such_database';
    await expect(waitForDatabase({ url: missing.href, log })).rejects.toThrow(
      /refuses the connection: database "no_such_database" does not exist/,
    );
  });
});

/** An ErrorResponse message (PostgreSQL 18 manual, section 54.7). */
function protocolViolation(message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0C08P01\0M${message}\0\0`);
  const head = Buffer.alloc(5, 'E');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
