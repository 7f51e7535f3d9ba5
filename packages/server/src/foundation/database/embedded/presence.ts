import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

import { databaseName } from './cluster.js';

const applicationName = 'mediablobkit presence';

/**
 * A connection that a process holds as long as it uses the embedded server. It ends with the process, however that
 * dies, so the server's own list of connections says who is there; and its end tells the process that the server
 * is gone.
 */
export interface Presence {
  /** Settles when the connection ends, for whatever reason. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

/** Connects to the server and makes our database when it is missing. Under the start lock. */
export async function announce(socketFolder: string): Promise<Presence> {
  const client = clientFor(socketFolder, applicationName);
  const ended = new Promise<void>((resolve) => {
    client.once('end', resolve);
    // The end follows; there is nothing to know about how.
    client.on('error', () => resolve());
  });
  await client.connect();
  const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [databaseName]);
  if (rowCount === 0) await client.query(`CREATE DATABASE ${databaseName}`);
  return { ended, close: () => client.end() };
}

/** Whether other processes use the server; we have closed our own presence. Under the start lock. */
export async function othersPresent(socketFolder: string): Promise<boolean> {
  const client = clientFor(socketFolder, 'mediablobkit stop');
  client.on('error', () => {
    // The query that follows rejects.
  });
  await client.connect();
  try {
    // A process killed just now, and we ourselves, stay in the list until the backend has noticed.
    for (let attempt = 0; attempt < 15; attempt += 1) {
      const { rowCount } = await client.query('SELECT FROM pg_stat_activity WHERE application_name = $1', [
        applicationName,
      ]);
      if (rowCount === 0) return false;
      await sleep(20);
    }
    return true;
  } finally {
    await client.end();
  }
}

function clientFor(socketFolder: string, application: string): pg.Client {
  return new pg.Client({
    host: socketFolder,
    port: 5432,
    user: databaseName,
    database: 'postgres',
    application_name: application,
    connectionTimeoutMillis: 10_000,
  });
}

/** The connection string of our database on that socket. */
export function socketUrl(socketFolder: string): string {
  return `postgres://${databaseName}@localhost/${databaseName}?host=${encodeURIComponent(socketFolder)}`;
}
