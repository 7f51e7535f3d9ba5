import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';

import type { Db } from './connect.js';
import { columnsOf, functionsOf, tableFile, tablesOf, target, type Dump } from './dump.js';
import { appliedRows, apply, lockSchema, makeMigrationsTable, pendingOf } from './migrate.js';
import { readMigrations, type Migration } from './migration-files.js';
import { withOneClient } from './one-client.js';
import { refuseOld } from './wait.js';

export interface LoadOptions {
  /** Of a role that may create tables; not that of a transaction pooler. */
  readonly url: string;
  /** Folder of this program's migrations. */
  readonly migrations: string | URL;
  /** Of the backup, with `tables/NAME.csv`. */
  readonly folder: string;
  readonly dump: Dump;
  /** Rows in this table mean that the database is in use. */
  readonly occupiedBy: string;
  /** Replaces what is there all the same. */
  readonly force: boolean;
  /** Runs at the end of the same transaction, on the present schema. */
  readonly afterLoad: (db: Db) => Promise<void>;
}

/** The dump cannot be loaded; nothing has changed. The message is a sentence for a person. */
export class LoadRefused extends Error {
  override readonly name = 'LoadRefused';
}

/** Milliseconds to wait for tables that a server which still runs is using. */
const lockWaitMs = 30_000;

/**
 * Makes the database what it was: the schema of the dump, its rows, then the newer migrations, all in one transaction.
 * The tables that are there are dropped; those of a newer program too, tables of others stay.
 * @throws LoadRefused, MigrationError
 */
export async function loadTables(options: LoadOptions): Promise<void> {
  const { url, dump } = options;
  const files = await readMigrations(options.migrations);
  const ofDump = migrationsOf(dump, files);
  await withOneClient(url, async ({ client, db }) => {
    const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num');
    refuseOld(Number(rows[0]?.server_version_num));
    await client.query(`BEGIN; SET LOCAL lock_timeout = ${lockWaitMs}`);
    // Ending the connection rolls back.
    await lockSchema(client);
    if (!options.force) await refuseOccupied(client, options.occupiedBy);
    await dropSchema(client, files);
    await makeMigrationsTable(client);
    for (const migration of ofDump) await apply(client, migration);
    await fill(client, options, tablesOf(files));
    for (const migration of pendingOf(files, dump.migrations)) await apply(client, migration);
    await options.afterLoad(db);
    await client.query('COMMIT');
  });
}

/** The migrations that make the schema of the dump. @throws LoadRefused when this program has others. */
function migrationsOf({ migrations }: Dump, files: readonly Migration[]): readonly Migration[] {
  const newest = files.at(-1)?.version ?? 0;
  return migrations.map(({ version, name, checksum }) => {
    if (version > newest) {
      throw new LoadRefused(
        `The backup has schema version ${version} (${name}), and this program knows ${newest}. Restore it with the newer program.`,
      );
    }
    const file = files.find((one) => one.version === version);
    if (file?.checksum !== checksum) {
      throw new LoadRefused(`The backup was made by a program whose migration ${name} is another one.`);
    }
    return file;
  });
}

async function refuseOccupied(client: pg.Client, table: string): Promise<void> {
  const { rows: found } = await client.query<{ there: boolean }>(
    'SELECT to_regclass($1) IS NOT NULL AS there',
    [pg.escapeIdentifier(table)],
  );
  if (!found[0]?.there) return;
  const { rows } = await client.query<{ occupied: boolean }>(
    `SELECT EXISTS (SELECT FROM ${pg.escapeIdentifier(table)}) AS occupied`,
  );
  if (!rows[0]?.occupied) return;
  throw new LoadRefused(
    `The database has ${table} already. Restore into an empty database, or replace everything in it: --force`,
  );
}

async function dropSchema(client: pg.Client, files: readonly Migration[]): Promise<void> {
  const newest = files.at(-1)?.version ?? 0;
  // What a newer program has made is not known here by name; then the schema is taken to be its alone.
  const newer = (await appliedRows(client)).some(({ version }) => version > newest);
  const { rows } = await client.query<{ kind: 'TABLE' | 'FUNCTION'; name: string; shown: string }>(
    `SELECT 'TABLE' AS kind, relname AS name, pg_class.oid::regclass::text AS shown FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
       AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
     UNION ALL
     SELECT 'FUNCTION', proname, pg_proc.oid::regprocedure::text FROM pg_proc
     WHERE pronamespace = current_schema()::regnamespace
       AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')`,
  );
  const ours = { TABLE: tablesOf(files), FUNCTION: functionsOf(files) };
  for (const { kind, name, shown } of rows) {
    if (newer || ours[kind].has(name)) await client.query(`DROP ${kind} IF EXISTS ${shown} CASCADE`);
  }
}

/** Loads every table behind those that it refers to, so that the foreign keys check what comes in. */
async function fill(
  client: pg.Client,
  { dump, folder }: LoadOptions,
  ours: ReadonlySet<string>,
): Promise<void> {
  const there = await columnsOf(client, ours);
  const names = there.map(({ name }) => name);
  const dumped = new Map(dump.tables.map((table) => [table.name, table]));
  const odd =
    [...dumped.keys()].find((name) => !names.includes(name)) ?? names.find((name) => !dumped.has(name));
  if (odd !== undefined) throw new LoadRefused(`The backup and its schema differ in the table ${odd}.`);
  // What is loaded has happened already: our triggers tell of changes, and keep the audit log from being emptied. Those of
  // the foreign keys stay.
  const setTriggers = async (state: 'DISABLE' | 'ENABLE'): Promise<void> => {
    for (const name of names) {
      await client.query(`ALTER TABLE ${pg.escapeIdentifier(name)} ${state} TRIGGER USER`);
    }
  };
  await setTriggers('DISABLE');
  await client.query(`TRUNCATE ${names.map((name) => pg.escapeIdentifier(name)).join(', ')}`);
  for (const name of await inOrder(client, names)) {
    const table = dumped.get(name);
    if (!table) continue;
    const sink = client.query(
      copyFrom(`COPY ${target(name, table.columns)} FROM STDIN (FORMAT csv, ENCODING 'UTF8')`),
    );
    await pipeline(createReadStream(tableFile(folder, name)), sink);
    if (sink.rowCount !== table.rows) {
      throw new LoadRefused(`The backup names ${table.rows} rows of ${name}, and has ${sink.rowCount}.`);
    }
  }
  await setTriggers('ENABLE');
}

/** The tables, each behind those that its foreign keys name. */
async function inOrder(client: pg.Client, names: readonly string[]): Promise<readonly string[]> {
  const { rows } = await client.query<{ child: string; parent: string }>(
    `SELECT child.relname AS child, parent.relname AS parent FROM pg_constraint
     JOIN pg_class AS child ON child.oid = conrelid JOIN pg_class AS parent ON parent.oid = confrelid
     WHERE contype = 'f' AND conrelid <> confrelid AND child.relnamespace = current_schema()::regnamespace`,
  );
  const order: string[] = [];
  let left = names;
  while (left.length > 0) {
    const free = left.filter(
      (name) => !rows.some(({ child, parent }) => child === name && left.includes(parent)),
    );
    if (free.length === 0) throw new TypeError(`the foreign keys of ${left.join(', ')} make a circle`);
    order.push(...free);
    left = left.filter((name) => !free.includes(name));
  }
  return order;
}
