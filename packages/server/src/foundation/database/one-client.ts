import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';

import type { Db } from './connect.js';
import type { DB } from './tables.js';

const INT8 = 20;

/** A connection of its own, without time limits, and the query builder over this very connection. */
export interface OneClient {
  readonly client: pg.Client;
  readonly db: Db;
}

/**
 * Runs the work on one new connection, which ends after it; a transaction that is open then is rolled back.
 * @param url not that of a transaction pooler.
 */
export async function withOneClient<T>(url: string, work: (one: OneClient) => Promise<T>): Promise<T> {
  const types = new pg.TypeOverrides();
  types.setTypeParser(INT8, Number);
  const client = new pg.Client({
    connectionString: url,
    application_name: 'mediablobkit backup',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    types,
  });
  client.on('error', () => {
    // The query under way, or the next one, rejects with it.
  });
  try {
    await client.connect();
    await client.query(
      'SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0',
    );
    return await work({ client, db: builderOn(client) });
  } finally {
    await client.end();
  }
}

function builderOn(client: pg.Client): Db {
  const lent = Object.assign(Object.create(client) as pg.PoolClient, {
    release: () => undefined,
    query: client.query.bind(client),
  });
  const pool = { connect: () => Promise.resolve(lent), end: () => Promise.resolve() };
  return new Kysely<DB>({ dialect: new PostgresDialect({ pool }) });
}
