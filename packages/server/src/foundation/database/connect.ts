import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';

import type { Log } from '../log.js';
import type { DB } from './tables.js';

/** The query builder over all tables; used only in `queries.ts` files, the database and the queue. */
export type Db = Kysely<DB>;
/** A transaction of it; what must be atomic with the caller's work takes one. */
export type Tx = Transaction<DB>;

export interface DatabaseOptions {
  /** `postgres://…`; a unix socket as `postgres://user@/name?host=/folder&port=5432`. */
  readonly url: string;
  /** Most connections this process opens. */
  readonly poolSize: number;
  /** Milliseconds after which the server cancels a statement (SQLSTATE 57014). */
  readonly statementTimeoutMs: number;
  /** Milliseconds after which waiting for a lock fails (SQLSTATE 55P03). */
  readonly lockTimeoutMs: number;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  readonly log: Log;
}

export interface Database {
  readonly db: Db;
  readonly pool: pg.Pool;
  /** Rejects with the driver's error when the server cannot be reached. */
  check(): Promise<void>;
  close(): Promise<void>;
}

const INT8 = 20;

/**
 * Opens a pool. Lost connections are logged and replaced; they never end the process. Columns of type
 * bigint come back as numbers: sizes and counters stay far below 2^53.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const types = new pg.TypeOverrides();
  types.setTypeParser(INT8, Number);
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.poolSize,
    application_name: options.applicationName,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    statement_timeout: options.statementTimeoutMs,
    lock_timeout: options.lockTimeoutMs,
    idle_in_transaction_session_timeout: 60_000,
    types,
  });
  pool.on('error', (error) => {
    options.log.warn({ err: error }, 'an idle database connection was lost');
  });
  const db = new Kysely<DB>({ dialect: new PostgresDialect({ pool }) });
  return {
    db,
    pool,
    async check() {
      await pool.query('select 1');
    },
    async close() {
      // Not db.destroy(): it leaves the pool open when the builder was never used.
      if (!pool.ending) await pool.end();
    },
  };
}
