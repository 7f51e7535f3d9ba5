import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';

import type { Db } from './connect.js';
import { appliedRows } from './migrate.js';
import { readMigrations, type Migration } from './migration-files.js';
import { withOneClient } from './one-client.js';

/** One table in a file: CSV as PostgreSQL writes it, UTF-8, without a header. */
export interface DumpedTable {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: number;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

export interface Dump {
  /** The schema that the tables are of. */
  readonly migrations: readonly AppliedMigration[];
  readonly tables: readonly DumpedTable[];
}

export interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
}

export interface DumpOptions {
  /** Not that of a transaction pooler. */
  readonly url: string;
  /** Of the migrations; their tables are dumped, and no others. */
  readonly migrations: string | URL;
  /** Gets `tables/NAME.csv`. */
  readonly folder: string;
  readonly signal: AbortSignal;
  /** Reads what else is wanted, as of the same moment. */
  readonly beside: (db: Db) => Promise<void>;
}

/** Where a table's rows are in the folder of a backup. */
export function tableFile(folder: string, table: string): string {
  return join(folder, 'tables', `${table}.csv`);
}

/** Writes all tables of the migrations as of one moment; nobody else waits for it. */
export async function dumpTables(options: DumpOptions): Promise<Dump> {
  const { url, folder, signal, beside } = options;
  const known = tablesOf(await readMigrations(options.migrations));
  await mkdir(join(folder, 'tables'), { mode: 0o700 });
  return withOneClient(url, async ({ client, db }) => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const migrations = (await appliedRows(client)).map(({ version, name, checksum }) => ({
      version,
      name,
      checksum,
    }));
    const tables: DumpedTable[] = [];
    for (const { name, columns } of await columnsOf(client, known)) {
      signal.throwIfAborted();
      tables.push({ name, columns, ...(await dumpTable(client, name, columns, tableFile(folder, name))) });
    }
    await beside(db);
    await client.query('COMMIT');
    return { migrations, tables };
  });
}

async function dumpTable(
  client: pg.Client,
  name: string,
  columns: readonly string[],
  path: string,
): Promise<Pick<DumpedTable, 'rows' | 'bytes' | 'sha256'>> {
  const source = client.query(
    copyTo(`COPY ${target(name, columns)} TO STDOUT (FORMAT csv, ENCODING 'UTF8')`),
  );
  const hash = createHash('sha256');
  let bytes = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  await pipeline(source, meter, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
  await syncFile(path);
  return { rows: source.rowCount, bytes, sha256: hash.digest('hex') };
}

/** Makes what was written durable. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** `"files" ("id", …)`: the order of columns differs where they were added at different times. */
export function target(name: string, columns: readonly string[]): string {
  return `${pg.escapeIdentifier(name)} (${columns.map((column) => pg.escapeIdentifier(column)).join(', ')})`;
}

/** The tables that the migrations make, and the one that says which were applied. */
export function tablesOf(migrations: readonly Migration[]): ReadonlySet<string> {
  return new Set([
    'schema_migrations',
    ...made(migrations, /^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)/gm),
  ]);
}

/** The functions that the migrations make. */
export function functionsOf(migrations: readonly Migration[]): ReadonlySet<string> {
  return new Set(made(migrations, /^CREATE (?:OR REPLACE )?FUNCTION (\w+)/gm));
}

function made(migrations: readonly Migration[], pattern: RegExp): readonly string[] {
  return migrations.flatMap(({ sql }) => [...sql.matchAll(pattern)].map(([, name = '']) => name));
}

/** Those of the tables that are there, by name, and their columns. */
export async function columnsOf(
  client: pg.Client,
  tables: ReadonlySet<string>,
): Promise<readonly { readonly name: string; readonly columns: readonly string[] }[]> {
  const { rows } = await client.query<{ name: string; columns: string[] }>(
    `SELECT relname AS name, array_agg(attname::text ORDER BY attnum) AS columns
     FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname = ANY ($1)
       AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     GROUP BY relname ORDER BY relname`,
    [[...tables]],
  );
  return rows;
}
