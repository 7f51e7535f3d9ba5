/**
 * Makes packages/server/src/foundation/database/tables.ts, the types of all tables, from a database that the
 * migrations were applied to. Called by scripts/generate.mjs.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { format, resolveConfig } from 'prettier';

/** Where the result belongs. */
export const tablesPath = fileURLToPath(
  new URL('../packages/server/src/foundation/database/tables.ts', import.meta.url),
);

const migrations = new URL('../packages/server/migrations/', import.meta.url);

/** The migrator's own table is no business of the query builder. */
const excluded = 'schema_migrations';

/**
 * The text of tables.ts for the migrations as they are, by way of an embedded server in a temporary folder.
 * @param built `startEmbedded` and `migrate` of the built server, and a log.
 */
export async function tablesFromMigrations({ startEmbedded, migrate, log }) {
  const folder = await mkdtemp(join(tmpdir(), 'mediablobkit-tables-'));
  try {
    const embedded = await startEmbedded({
      folder: join(folder, 'postgres'),
      log,
      settings: { fsync: 'off' },
    });
    try {
      await migrate({ url: embedded.url, folder: migrations, log });
      return await generateTables(embedded.url);
    } finally {
      await embedded.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The text of tables.ts, formatted; the same schema gives the same text on PostgreSQL 15 to 18.
 * @param {string} url Connection string of a migrated database.
 */
export async function generateTables(url) {
  const folder = await mkdtemp(join(tmpdir(), 'mediablobkit-tables-'));
  const file = join(folder, 'tables.ts');
  const codegen = join(
    dirname(createRequire(import.meta.url).resolve('kysely-codegen/package.json')),
    'dist/cli/bin.js',
  );
  try {
    await promisify(execFile)(process.execPath, [
      codegen,
      ...['--dialect', 'postgres', '--log-level', 'error', '--url', url, '--out-file', file],
      ...['--exclude-pattern', excluded],
      // The pool reads bigint as number: sizes and counters stay far below 2^53.
      ...['--type-mapping', JSON.stringify({ int8: 'number' })],
    ]);
    const text = await readFile(file, 'utf8');
    return await format(text, { ...(await resolveConfig(tablesPath)), filepath: tablesPath });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
