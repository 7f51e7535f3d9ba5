import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

import type { Log } from '../log.js';
import { isConnectionError, sqlState } from './errors.js';

export interface WaitOptions {
  readonly url: string;
  readonly log: Log;
  /** Milliseconds until it gives up. Default one minute: a database that starts beside us, or recovers. */
  readonly timeoutMs?: number;
}

/** What was found out about the server. */
export interface ServerFacts {
  /** Such as 150018 for 15.18. */
  readonly versionNumber: number;
  /** True when something in between refuses parameters of the connection: a transaction pooler. */
  readonly pooled: boolean;
}

/** The database cannot be used; the message is a sentence for a person and names no password. */
export class DatabaseUnavailable extends Error {
  override readonly name = 'DatabaseUnavailable';
}

/** The oldest PostgreSQL that the schema works on. */
const oldestVersion = 150_000;

/**
 * Waits until the server accepts connections, for it may start at the same time as we do.
 * @throws DatabaseUnavailable when it does not in time, refuses us (password, name), or is too old.
 */
export async function waitForDatabase({ url, log, timeoutMs = 60_000 }: WaitOptions): Promise<ServerFacts> {
  const deadline = Date.now() + timeoutMs;
  const where = placeOf(url);
  for (let attempt = 0; ; attempt += 1) {
    try {
      const facts = await ask(url);
      if (attempt > 0) log.info(where, 'the database is there');
      refuseOld(facts.versionNumber);
      return facts;
    } catch (error) {
      if (error instanceof DatabaseUnavailable) throw error;
      const reason = reasonOf(error);
      if (!isConnectionError(error)) {
        throw new DatabaseUnavailable(`The database at ${where.host} refuses the connection: ${reason}.`, {
          cause: error,
        });
      }
      if (Date.now() >= deadline) {
        const seconds = Math.round(timeoutMs / 1000);
        throw new DatabaseUnavailable(
          `The database at ${where.host} did not answer within ${seconds} s: ${reason}. Is it running, and is DATABASE_URL right?`,
          { cause: error },
        );
      }
      // Told once, and then every ten seconds or so.
      if (attempt % 20 === 0) log.warn({ ...where, reason }, 'waiting for the database');
      await sleep(Math.min(500, Math.max(0, deadline - Date.now())));
    }
  }
}

async function ask(url: string): Promise<ServerFacts> {
  try {
    return { versionNumber: await versionOf(url, { statement_timeout: 10_000 }), pooled: false };
  } catch (error) {
    // Protocol violation: PgBouncer's "unsupported startup parameter: statement_timeout".
    if (sqlState(error) !== '08P01') throw error;
    return { versionNumber: await versionOf(url, {}), pooled: true };
  }
}

async function versionOf(url: string, parameters: { statement_timeout?: number }): Promise<number> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000, ...parameters });
  client.on('error', () => {
    // Whatever waits for the connection rejects with it.
  });
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
    return Number(rows[0]?.server_version_num);
  } finally {
    await client.end();
  }
}

/** @throws DatabaseUnavailable for a server older than PostgreSQL 15. */
export function refuseOld(versionNumber: number): void {
  if (versionNumber >= oldestVersion) return;
  const major = Math.floor(versionNumber / 10_000);
  throw new DatabaseUnavailable(
    `The database server is PostgreSQL ${major}; MediaBlobKit needs 15 or newer.`,
  );
}

/** Host and database of a connection string, without user and password. */
function placeOf(url: string): { host: string; database: string } {
  const { hostname, port, pathname, searchParams } = new URL(url);
  const host = searchParams.get('host') ?? hostname;
  return { host: port === '' ? host : `${host}:${port}`, database: pathname.slice(1) };
}

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map((part) => reasonOf(part)).join(', ');
  }
  return error instanceof Error ? error.message : String(error);
}
