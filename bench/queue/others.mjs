/** The other contestants, each as its documentation recommends it for ten jobs at a time. */
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import PgBoss from 'pg-boss';

const silent = new Logger(() => () => undefined);

/** @param localQueue undefined for the default: one query per job and slot */
export async function graphile(url, localQueue) {
  const pool = new pg.Pool({ connectionString: url, max: 12 });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  const utils = await makeWorkerUtils({ pgPool: pool, logger: silent });
  await utils.migrate();
  return {
    name: localQueue ? `graphile-worker, localQueue of ${localQueue.size}` : 'graphile-worker',
    share: 1,
    async clear() {
      await pool.query('TRUNCATE graphile_worker._private_jobs');
    },
    async left() {
      const { rows } = await pool.query(
        'SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)::integer AS left',
      );
      return rows[0].left;
    },
    add: (n) => utils.addJob('noop', { n }),
    async addMany(count) {
      await pool.query(
        `SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
           SELECT json_populate_record(null::graphile_worker.job_spec, json_build_object('identifier', 'noop', 'payload', json_build_object('n', n)))
           FROM generate_series(0, $1 - 1) AS n))`,
        [count],
      );
    },
    async work(started) {
      const runner = await run({
        pgPool: pool,
        noHandleSignals: true,
        logger: silent,
        taskList: { noop: async (payload) => started(payload.n) },
        ...(localQueue
          ? {
              preset: {
                worker: { concurrentJobs: 10, localQueue, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
              },
            }
          : { concurrency: 10 }),
      });
      return () => runner.stop();
    },
    async close() {
      await utils.release();
      await pool.end();
    },
  };
}

export async function pgBoss(url) {
  const boss = new PgBoss({ connectionString: url, max: 12, supervise: false, schedule: false });
  boss.on('error', () => undefined);
  await boss.start();
  await boss.createQueue('noop');
  return {
    name: 'pg-boss',
    // Its workers ask every half second at best: fewer jobs tell as much.
    share: 0.02,
    clear: () => boss.purgeQueue('noop'),
    left: () => boss.getQueueSize('noop', { before: 'completed' }),
    add: (n) => boss.send('noop', { n }),
    addMany: (count) => boss.insert(Array.from({ length: count }, (_, n) => ({ name: 'noop', data: { n } }))),
    async work(started) {
      for (let worker = 0; worker < 10; worker += 1) {
        await boss.work('noop', { pollingIntervalSeconds: 0.5, batchSize: 1 }, async ([job]) =>
          started(job.data.n),
        );
      }
      return () => boss.offWork('noop');
    },
    close: () => boss.stop({ graceful: false, close: true }),
  };
}
