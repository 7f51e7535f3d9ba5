import pg from 'pg';

import type { Log } from '../log.js';
import { sqlState } from './errors.js';
import { MigrationError } from './migration-error.js';
import { readMigrations, type Migration } from './migration-files.js';
import { refuseOld } from './wait.js';

export interface MigrateOptions {
  /** Connection string of a role that may create tables; without a pooler in between when there is one. */
  readonly url: string;
  /** Folder of `NNNN_name.sql` files. */
  readonly folder: string | URL;
  readonly log: Log;
  /** Milliseconds to wait for another process that migrates. Default two minutes. */
  readonly lockWaitMs?: number;
}

export interface MigrationResult {
  /** Names of those that this call applied, such as `0004_queue`. */
  readonly applied: readonly string[];
  /** The schema's version now. */
  readonly version: number;
}

export interface MigrationStatus {
  readonly applied: readonly { readonly version: number; readonly name: string; readonly appliedAt: Date }[];
  readonly pending: readonly { readonly version: number; readonly name: string }[];
}

interface AppliedRow {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly applied_at: Date;
}

/** Key of the advisory lock that migrators take in turn: the letters "mbkm". */
const lockKey = 0x6d_62_6b_6d;

/** A migration that waits longer for a table's lock would hold up everybody who queues behind it. */
const tableLockWaitMs = 30_000;

/**
 * Brings the schema up to date: each file in a transaction of its own, together with its row in
 * `schema_migrations`. Any number of processes may call it at once; a lock that ends with the transaction lets one
 * work at a time, also behind a transaction pooler and after a kill −9, which leaves whole steps only.
 * @throws MigrationError, without having changed anything, when the schema is newer than this program,
 *   an applied file was edited, or a file with a lower number came later.
 */
export async function migrate(options: MigrateOptions): Promise<MigrationResult> {
  const migrations = await readMigrations(options.folder);
  return withClient(options.url, async (client) => {
    const applied: string[] = [];
    // Nothing to do is the usual case; it needs no lock.
    let pending = pendingOf(migrations, await appliedRows(client));
    while (pending.length > 0) {
      const name = await applyNext(client, migrations, options);
      if (name === undefined) break;
      applied.push(name);
      options.log.info({ migration: name }, 'migrated the schema');
      pending = pending.slice(1);
    }
    return { applied, version: migrations.at(-1)?.version ?? 0 };
  });
}

/** What is applied and what is not; changes nothing. */
export async function migrationStatus(
  options: Pick<MigrateOptions, 'url' | 'folder'>,
): Promise<MigrationStatus> {
  const migrations = await readMigrations(options.folder);
  return withClient(options.url, async (client) => {
    const rows = await appliedRows(client);
    return {
      applied: rows.map(({ version, name, applied_at }) => ({ version, name, appliedAt: applied_at })),
      pending: pendingOf(migrations, rows).map(({ version, name }) => ({ version, name })),
    };
  });
}

/** Applies the lowest migration that is pending once the lock is ours; undefined when others have applied all. */
async function applyNext(
  client: pg.Client,
  migrations: readonly Migration[],
  options: MigrateOptions,
): Promise<string | undefined> {
  const lockWaitMs = Math.round(options.lockWaitMs ?? 120_000);
  // The connection check lets go of the lock of a process that was killed, though its statement still runs.
  await client.query(
    `BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL client_connection_check_interval = 1000;
     SET LOCAL lock_timeout = ${lockWaitMs}`,
  );
  try {
    await lockSchema(client);
    await client.query(`SET LOCAL lock_timeout = ${tableLockWaitMs}`);
    await makeMigrationsTable(client);
    const [next] = pendingOf(migrations, await appliedRows(client));
    if (next) await apply(client, next);
    await client.query('COMMIT');
    return next?.name;
  } catch (error) {
    // Ending the connection, which the caller does, rolls back; so nothing can hide this error.
    throw error instanceof MigrationError
      ? error
      : new MigrationError('failed', `The schema could not be changed: ${textOf(error)}.`, error);
  }
}

/** Where it is written down what was applied. */
export async function makeMigrationsTable(client: pg.Client): Promise<void> {
  await client.query(
    `CREATE TABLE IF NOT EXISTS schema_migrations (
       version integer PRIMARY KEY,
       name text NOT NULL,
       checksum text NOT NULL,
       applied_at timestamptz NOT NULL DEFAULT now()
     )`,
  );
}

/**
 * Keeps everybody else from changing the schema until the transaction ends; waits for `lock_timeout` at most.
 * @throws MigrationError `locked`
 */
export async function lockSchema(client: pg.Client): Promise<void> {
  try {
    await client.query('SELECT pg_advisory_xact_lock($1)', [lockKey]);
  } catch (error) {
    if (sqlState(error) !== '55P03') throw error;
    throw new MigrationError(
      'locked',
      'Another process has been changing the schema for too long; see what it waits for.',
      error,
    );
  }
}

/** Applies one and writes it down, in the caller's transaction. @throws MigrationError `failed` */
export async function apply(client: pg.Client, { version, name, sql, checksum }: Migration): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    throw new MigrationError(
      'failed',
      `Migration ${name} failed${lineOf(error, sql)}: ${textOf(error)}.`,
      error,
    );
  }
  await client.query('INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)', [
    version,
    name,
    checksum,
  ]);
}

/** What is applied, in order; nothing where there is no schema yet. */
export async function appliedRows(client: pg.Client): Promise<AppliedRow[]> {
  const { rows: found } = await client.query<{ there: boolean }>(
    "SELECT to_regclass('schema_migrations') IS NOT NULL AS there",
  );
  if (!found[0]?.there) return [];
  const { rows } = await client.query<AppliedRow>(
    'SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version',
  );
  return rows;
}

/** Those still to apply. @throws MigrationError when the rows and the files do not belong together. */
export function pendingOf(
  migrations: readonly Migration[],
  rows: readonly Pick<AppliedRow, 'version' | 'name' | 'checksum'>[],
): Migration[] {
  const newest = migrations.at(-1)?.version ?? 0;
  const known = new Map(migrations.map((migration) => [migration.version, migration]));
  for (const row of rows) {
    if (row.version > newest) {
      throw new MigrationError(
        'schema-too-new',
        `The database has schema version ${row.version} (${row.name}), and this program knows ${newest}. ` +
          'Run the newer program, or restore the backup made before it ran.',
      );
    }
    if (known.get(row.version)?.checksum !== row.checksum) {
      throw new MigrationError(
        'edited',
        `Migration ${row.name} was applied to this database with another text. Migrations are never edited: add a new one.`,
      );
    }
  }
  const last = rows.at(-1)?.version ?? 0;
  const applied = new Set(rows.map(({ version }) => version));
  const pending = migrations.filter(({ version }) => !applied.has(version));
  const early = pending.find(({ version }) => version < last);
  if (early) {
    throw new MigrationError(
      'out-of-order',
      `Migration ${early.name} has a lower number than one that is applied already (${last}). Give it the next number.`,
    );
  }
  return pending;
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'mediablobkit migrate',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  client.on('error', () => {
    // The query under way, or the next one, rejects with it.
  });
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
    refuseOld(Number(rows[0]?.server_version_num));
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Where in the file the server found the fault. */
function lineOf(error: unknown, sql: string): string {
  const position = error instanceof pg.DatabaseError ? Number(error.position) : Number.NaN;
  return Number.isInteger(position) ? ` at line ${sql.slice(0, position).split('\n').length}` : '';
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
