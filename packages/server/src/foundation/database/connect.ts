import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';

import type { Log } from '../log.js';
import { isConnectionError } from './errors.js';
import { PooledDialect } from './pooled-dialect.js';
import type { DB } from './tables.js';

/** The query builder over all tables; used only in `queries.ts` files, the database and the queue. */
export type Db = Kysely<DB>;
/** A transaction of it; what must be atomic with the caller's work takes one. */
export type Tx = Transaction<DB>;

export interface DatabaseOptions {
  /** `postgres://…`; a unix socket as `postgres://user@localhost/name?host=/folder`. */
  readonly url: string;
  /** Most connections this process opens. */
  readonly poolSize: number;
  /** Milliseconds after which the server cancels a statement (SQLSTATE 57014). */
  readonly statementTimeoutMs: number;
  /** Milliseconds after which waiting for a lock fails (SQLSTATE 55P03). */
  readonly lockTimeoutMs: number;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  /**
   * True behind a transaction pooler (`waitForDatabase` finds out). PgBouncer refuses timeouts as parameters of the
   * connection, and a SET would reach whichever server connection comes by. There each transaction sets them for
   * itself, without a further round trip; statements outside of transactions are bounded by the pooler's
   * `query_timeout` or the role's settings only. Default false.
   */
  readonly pooled?: boolean;
  readonly log: Log;
}

export interface Database {
  readonly db: Db;
  readonly pool: pg.Pool;
  /** Rejects with the driver's error when the server cannot be reached. */
  check(): Promise<void>;
  /** Waits for connections in use for up to `graceMs` (5 s), then cuts them: their queries reject. */
  close(graceMs?: number): Promise<void>;
}

const INT8 = 20;
/** A transaction that does nothing for this long holds locks that others wait for; the server ends it. */
const idleInTransactionMs = 60_000;

/**
 * Opens a pool; connects only when used. Lost connections are logged and replaced; they never end the process, and
 * queries under way reject with what `isConnectionError` recognises. Columns of type bigint come back as numbers:
 * sizes and counters stay far below 2^53.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const types = new pg.TypeOverrides();
  types.setTypeParser(INT8, Number);
  const timeouts = {
    statement_timeout: options.statementTimeoutMs,
    lock_timeout: options.lockTimeoutMs,
    idle_in_transaction_session_timeout: idleInTransactionMs,
  };
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.poolSize,
    application_name: options.applicationName,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    types,
    ...(options.pooled ? {} : timeouts),
  });
  const clients = watchClients(pool, options.log);
  const dialect = options.pooled ? new PooledDialect({ pool }, timeouts) : new PostgresDialect({ pool });
  return {
    db: new Kysely<DB>({ dialect }),
    pool,
    async check() {
      await pool.query('select 1');
    },
    async close(graceMs = 5_000) {
      // Not db.destroy(): it leaves the pool open when the builder was never used.
      if (!pool.ending) await endPool(pool, clients, graceMs, options.log);
    },
  };
}

/**
 * Every connection of the pool, each with a listener: an `error` event that nobody hears ends the process. A
 * connection whose server has taken leave is not given out again, though its socket may still look open.
 */
function watchClients(pool: pg.Pool, log: Log): ReadonlySet<pg.Client> {
  const clients = new Set<pg.Client>();
  const dismissed = new WeakSet<pg.ClientBase>();
  // The client's own listener has logged it.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => {
    if (client instanceof pg.Client) clients.add(client);
    client.on('error', (error) => log.warn({ err: error }, 'a database connection was lost'));
    client.connection.on('errorMessage', (error: unknown) => {
      if (isConnectionError(error)) dismissed.add(client);
    });
  });
  pool.on('release', (_error, client) => {
    // An ending client is removed by the pool; ending cannot fail, it resolves when the socket has closed.
    if (dismissed.has(client) && client instanceof pg.Client) void client.end();
  });
  pool.on('remove', (client) => {
    if (client instanceof pg.Client) clients.delete(client);
  });
  return clients;
}

async function endPool(
  pool: pg.Pool,
  clients: ReadonlySet<pg.Client>,
  graceMs: number,
  log: Log,
): Promise<void> {
  const ended = pool.end().then(() => true as const);
  if (await within(graceMs, ended)) return;
  log.warn({ connections: clients.size }, 'cutting database connections that are still in use');
  // In the middle of a query `end` destroys the socket. Again and again, for one may just be connecting.
  do {
    for (const client of clients) void client.end();
  } while (!(await within(50, ended)));
}

/** Whether the promise resolves within that time. */
async function within(milliseconds: number, promise: Promise<true>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, milliseconds, false);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
