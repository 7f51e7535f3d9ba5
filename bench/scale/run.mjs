/**
 * npm run bench:scale -- sweep | lists | removal — what must go on working when there is a lot of it.
 *
 *   sweep      --keys=1000000                    keys in the store, and rows: throughput and memory
 *   lists      --rows=1000000 --rounds=200       files of a project
 *   removal    --files=100000 --beside=1000000   files of the project that is removed, and of others
 *
 * What is measured is the build: npm run build before.
 *
 *   TEST_DATABASE_URL   a server to use (as superuser; a database is made and dropped); otherwise an embedded
 *                       PostgreSQL is started in a temporary folder with the settings of the product
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import pg from 'pg';

const { createLog } = await import('../../packages/server/dist/foundation/log.js');
const { startEmbedded } = await import('../../packages/server/dist/foundation/database/embedded.js');
const { migrate } = await import('../../packages/server/dist/foundation/database/migrate.js');

/** Each bench by its name. */
const benches = {
  sweep: async () => (await import('./sweep.mjs')).benchSweep,
  lists: async () => (await import('./lists.mjs')).benchLists,
  removal: async () => (await import('./removal.mjs')).benchRemoval,
};

const name = process.argv[2] ?? '';
if (!Object.hasOwn(benches, name)) {
  console.error(`Which? ${Object.keys(benches).join(', ')}`);
  process.exit(1);
}
const bench = await benches[name]();

const log = await createLog({ level: 'error', pretty: false });
const folder = mkdtempSync(join(tmpdir(), 'mbk-bench-'));
const given = process.env.TEST_DATABASE_URL;
const server = given ? undefined : await startEmbedded({ folder: join(folder, 'postgres'), log });
const admin = new pg.Client({ connectionString: given ?? server.url });
const database = `bench_${randomUUID().replaceAll('-', '')}`;
try {
  await admin.connect();
  await admin.query(`CREATE DATABASE ${database} TEMPLATE template0`);
  const url = new URL(given ?? server.url);
  url.pathname = `/${database}`;
  await migrate({
    url: url.href,
    folder: new URL('../../packages/server/migrations/', import.meta.url),
    log,
  });
  await bench({ url: url.href, folder, log });
} finally {
  await admin.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`).catch(() => undefined);
  await admin.end();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
}
