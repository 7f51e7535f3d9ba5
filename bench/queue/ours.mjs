/** Our queue as a contestant: fairness over twenty projects and heartbeats (a short lease) are on. */
import { randomUUID } from 'node:crypto';

import Type from 'typebox';

import { openDatabase } from '../../packages/server/src/foundation/database/connect.ts';
import { defineJob, handle } from '../../packages/server/src/foundation/queue/define.ts';
import { enqueue, enqueueMany } from '../../packages/server/src/foundation/queue/enqueue.ts';
import { createRunner } from '../../packages/server/src/foundation/queue/runner.ts';

export const noop = defineJob({ name: 'noop', payload: Type.Object({ n: Type.Integer() }) });
const projects = Array.from({ length: 20 }, () => randomUUID());

export function open(url, log) {
  return openDatabase({
    url,
    poolSize: 10,
    statementTimeoutMs: 60_000,
    lockTimeoutMs: 10_000,
    applicationName: 'bench',
    log,
  });
}

export async function ours(url, log) {
  const database = open(url, log);
  const { db, pool } = database;
  return {
    name: 'ours',
    share: 1,
    async clear() {
      await pool.query('TRUNCATE waiting_jobs, running_jobs, finished_jobs');
    },
    async left() {
      const { rows } = await pool.query(
        'SELECT EXISTS (SELECT FROM waiting_jobs)::integer + EXISTS (SELECT FROM running_jobs)::integer AS left',
      );
      return rows[0].left;
    },
    add: (n) =>
      db
        .transaction()
        .execute((tx) => enqueue(tx, noop, { n }, { projectId: projects[n % projects.length] })),
    async addMany(count) {
      for (let done = 0; done < count; done += 5_000) {
        const items = Array.from({ length: Math.min(5_000, count - done) }, (_, n) => ({
          payload: { n: done + n },
          projectId: projects[n % projects.length],
        }));
        await db.transaction().execute((tx) => enqueueMany(tx, noop, items));
      }
    },
    async work(started) {
      const runner = createRunner({
        db,
        handlers: [handle(noop, async (context) => started(context.payload.n))],
        concurrency: 10,
        leaseSeconds: 3,
        name: 'bench',
        log,
        listenUrl: url,
      });
      runner.start();
      return () => runner.stop();
    },
    close: () => database.close(),
  };
}
