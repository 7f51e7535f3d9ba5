/**
 * A worker process of the chaos test: runs jobs that leave a mark in the table `effects`, until it is killed.
 * Arguments: database URL, name, lease in seconds.
 */
import Type from 'typebox';
import { sql } from 'kysely';

import { openDatabase } from '../../src/foundation/database/connect.js';
import { createLog } from '../../src/foundation/log.js';
import { defineJob, handle } from '../../src/foundation/queue/define.js';
import { createRunner } from '../../src/foundation/queue/runner.js';

const [, , url, name, leaseSeconds] = process.argv;
if (!url || !name) throw new Error('usage: queue-chaos-worker URL NAME LEASE');
const log = await createLog({ level: 'error', pretty: false });
const database = openDatabase({
  url,
  poolSize: 12,
  statementTimeoutMs: 15_000,
  lockTimeoutMs: 10_000,
  applicationName: name,
  log,
});

const payload = Type.Object({ n: Type.Integer() });
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Leaves its mark in the transaction that finishes it. */
const fenced = handle(
  defineJob({ name: 'fenced', payload, attempts: 50 }),
  async ({ payload: { n }, attempt, finish }) => {
    await pause(n % 40);
    if (n % 10 === 0 && attempt === 1) throw new Error('fails at first');
    await finish(async (tx) => {
      await sql`INSERT INTO effects (n, fenced) VALUES (${n}, true)`.execute(tx);
      await pause(n % 7);
    });
  },
);
/** Leaves its mark, then returns: the runner finishes it. */
const plain = handle(defineJob({ name: 'plain', payload, attempts: 50 }), async ({ payload: { n } }) => {
  await sql`INSERT INTO effects (n, fenced) VALUES (${n}, false)`.execute(database.db);
  await pause(n % 40);
});

createRunner({
  db: database.db,
  handlers: [fenced, plain],
  concurrency: 8,
  name,
  log,
  listenUrl: url,
  leaseSeconds: Number(leaseSeconds),
  pollMs: 250,
  backoff: { firstSeconds: 0.5, factor: 1, longestSeconds: 0.5 },
}).start();
