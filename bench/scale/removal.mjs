/**
 * The removal of a project with 100,000 files and three variants each, beside ten times as many of others: how long it
 * takes, and how long it ever holds a transaction open, as the database itself sees it.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import pg from 'pg';

import { createPurgeProjectHandler } from '../../packages/server/dist/features/cleanup/projects/purge-job.js';
import { claimStore } from '../../packages/server/dist/features/cleanup/store-identity.js';
import { openDiskStore } from '../../packages/server/dist/foundation/blobs/disk.js';
import { openDatabase } from '../../packages/server/dist/foundation/database/connect.js';
import { option, table, verdict } from '../machine.mjs';
import { insertFiles } from './rows.mjs';

export async function benchRemoval({ url, folder, log }) {
  const count = option('files', 100_000);
  const beside = option('beside', 1_000_000);
  const database = openDatabase({
    url,
    poolSize: 4,
    statementTimeoutMs: 1_200_000,
    lockTimeoutMs: 10_000,
    applicationName: 'bench',
    log,
  });
  const blobs = await openDiskStore({ folder: join(folder, 'blobs') });
  const watcher = new pg.Client({ connectionString: url });
  await watcher.connect();
  try {
    const { db, pool } = database;
    await claimStore({ db, blobs });
    const [other, doomed, user] = [randomUUID(), randomUUID(), randomUUID()];
    await pool.query(
      "INSERT INTO users (id, email, email_canonical, password_hash) VALUES ($1, 'a', 'a', '-')",
      [user],
    );
    for (const id of [other, doomed]) {
      await pool.query("INSERT INTO projects (id, owner_id, name, settings) VALUES ($1, $2, 'a', '{}')", [
        id,
        user,
      ]);
      await pool.query(
        'INSERT INTO project_usage (project_id, original_bytes, file_count, variant_bytes) VALUES ($1, $2, $3, $4)',
        id === doomed ? [id, count * 1e6, count, count * 60_000] : [id, 0, 0, 0],
      );
    }
    await insertFiles(pool, { projectId: other, from: 0, to: beside });
    await insertFiles(pool, { projectId: doomed, from: 0, to: count, seed: beside });
    await pool.query('UPDATE projects SET deleted_at = now(), purged_at = now() WHERE id = $1', [doomed]);

    const handler = createPurgeProjectHandler({ db, blobs, againAfter: 0 });
    const began = performance.now();
    let over = false;
    let longest = 0;
    const watch = (async () => {
      while (!over) {
        const { rows } = await watcher.query(
          `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 * 1000 AS age
           FROM pg_stat_activity WHERE application_name = 'bench' AND datname = current_database()`,
        );
        longest = Math.max(longest, rows[0].age);
        await sleep(5);
      }
    })();
    let runs = 0;
    for (;;) {
      runs += 1;
      await handler.run({
        id: randomUUID(),
        payload: { projectId: doomed },
        projectId: null,
        attempt: 1,
        lastAttempt: false,
        signal: new AbortController().signal,
        log,
        finish: (work) => db.transaction().execute(work),
      });
      const { rows } = await pool.query('SELECT FROM projects WHERE id = $1', [doomed]);
      if (rows.length === 0) break;
    }
    const seconds = (performance.now() - began) / 1000;
    over = true;
    await watch;
    const { rows } = await pool.query(
      `SELECT (SELECT count(*) FROM files WHERE project_id = $1)::int AS files,
         (SELECT count(*) FROM variants WHERE project_id = $1)::int AS variants,
         (SELECT count(*) FROM tombstones)::int AS buried`,
      [doomed],
    );
    console.log(
      table([
        ['files', 'seconds', 'files/s', 'runs', 'longest transaction', 'rows left', 'keys buried'],
        [
          count.toLocaleString('en-US'),
          seconds.toFixed(1),
          Math.round(count / seconds).toLocaleString('en-US'),
          runs,
          `${Math.round(longest)} ms`,
          rows[0].files + rows[0].variants,
          rows[0].buried.toLocaleString('en-US'),
        ],
      ]),
    );
    console.log(verdict('no transaction of more than 1 s', `${Math.round(longest)} ms`, longest < 1_000));
  } finally {
    await watcher.end();
    await blobs.close();
    await database.close();
  }
}
