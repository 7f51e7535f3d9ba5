import { randomUUID } from 'node:crypto';

import pg from 'pg';
import { inject } from 'vitest';

import { openDatabase, type Database } from '../src/foundation/database/connect.js';
import { createLog } from '../src/foundation/log.js';

export interface TestDatabaseOptions {
  /** An empty database instead of a clone of the migrated one. */
  readonly empty?: boolean;
  readonly poolSize?: number;
  readonly statementTimeoutMs?: number;
  readonly lockTimeoutMs?: number;
  /** How long `close` waits for connections to end; backends notice a closed socket within milliseconds. */
  readonly leakGraceMs?: number;
}

export interface TestDatabase {
  /** For processes and pools of the test's own; close them before `close()`. */
  readonly url: string;
  readonly database: Database;
  /**
   * Closes the pool and drops the database. Rejects when somebody is still connected: a pool or child
   * process that outlives its test would disturb the next one.
   */
  close(): Promise<void>;
}

/** A database of the test's own with the whole schema (a clone of the template, some 50 ms). */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const adminUrl = inject('databaseAdminUrl');
  const template = options.empty ? 'template0' : inject('databaseTemplate');
  const name = `mbk_test_${randomUUID().replaceAll('-', '')}`;
  await asAdmin(adminUrl, (admin) => admin.query(`CREATE DATABASE ${name} TEMPLATE ${template}`));
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  const database = openDatabase({
    url: url.href,
    poolSize: options.poolSize ?? 10,
    statementTimeoutMs: options.statementTimeoutMs ?? 15_000,
    lockTimeoutMs: options.lockTimeoutMs ?? 10_000,
    applicationName: 'mediablobkit test',
    log: await createLog({ level: 'silent', pretty: false }),
  });
  return {
    url: url.href,
    database,
    async close() {
      await database.close();
      await asAdmin(adminUrl, async (admin) => {
        const leaked = await leakedConnections(admin, name, options.leakGraceMs ?? 2_000);
        await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
        if (leaked.length > 0) {
          throw new Error(`connections outlived the test:\n${leaked.join('\n')}`);
        }
      });
    },
  };
}

async function leakedConnections(admin: pg.Client, name: string, graceMs: number): Promise<string[]> {
  const deadline = Date.now() + graceMs;
  while (true) {
    const { rows } = await admin.query<{ application_name: string; state: string | null; query: string }>(
      `SELECT application_name, state, query FROM pg_stat_activity
       WHERE datname = $1 AND backend_type = 'client backend'`,
      [name],
    );
    if (rows.length === 0 || Date.now() > deadline) {
      return rows.map((row) => `  ${row.application_name} (${row.state ?? 'starting'}): ${row.query}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function asAdmin<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
