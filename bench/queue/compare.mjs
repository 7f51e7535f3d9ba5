import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import pg from 'pg';

import { migrate } from '../../packages/server/src/foundation/database/migrate.ts';
import { graphile, pgBoss } from './others.mjs';
import { ours } from './ours.mjs';

const migrations = new URL('../../packages/server/migrations/', import.meta.url);
const holder = fileURLToPath(new URL('./holder.mjs', import.meta.url));
const latencySamples = 60;

export async function compare({ adminUrl, log, rounds, jobs, million }) {
  const name = `mbk_bench_${process.pid}`;
  await asAdmin(adminUrl, `CREATE DATABASE ${name}`);
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  try {
    await migrate({ url: url.href, folder: migrations, log });
    const contestants = [
      await ours(url.href, log),
      await graphile(url.href),
      // As many fetched ahead as there are hands, and ten times as many.
      await graphile(url.href, { size: 10 }),
      await graphile(url.href, { size: 100 }),
      await pgBoss(url.href),
    ];
    const results = contestants.map(() => ({ latencies: [], rates: [] }));
    for (let round = 0; round < rounds; round += 1) {
      // Another order in every round, so that nobody always runs after the same one.
      for (let turn = 0; turn < contestants.length; turn += 1) {
        const which = (turn + round) % contestants.length;
        const contestant = contestants[which];
        await contestant.clear();
        results[which].latencies.push(...(await latency(contestant)));
        await contestant.clear();
        results[which].rates.push(await drain(contestant, Math.ceil(jobs * contestant.share)));
      }
    }
    report(contestants, results);
    const [mine] = contestants;
    for (const leaseSeconds of [5, 5, 5, 30]) {
      await mine.clear();
      const seconds = await takeover(mine, url.href, leaseSeconds);
      console.log(`takeover after kill -9, lease ${leaseSeconds} s: ${seconds.toFixed(1)} s`);
    }
    console.log('graphile-worker: 4 h (in its source); pg-boss: expireIn, 15 min by default');
    if (million) await drainMillion(mine, jobs);
    for (const contestant of contestants) await contestant.close();
  } finally {
    await asAdmin(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  }
}

/** Milliseconds from the call that enqueues to the start of the handler, one job at a time on an idle worker. */
async function latency(contestant) {
  const samples = [];
  let arrived = () => undefined;
  const stop = await contestant.work(() => arrived());
  // The first job waits for the start, not for the queue.
  for (let n = -1; n < (contestant.share < 1 ? 10 : latencySamples); n += 1) {
    const begun = performance.now();
    const started = new Promise((resolve) => {
      arrived = () => resolve(performance.now());
    });
    await contestant.add(n + 1);
    const ended = await started;
    if (n >= 0) samples.push(ended - begun);
    await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 15));
  }
  await stop();
  return samples;
}

/** Jobs a second, from the start of a worker until the table knows that the last job is done. */
async function drain(contestant, count) {
  await contestant.addMany(count);
  let left = count;
  let finished = () => undefined;
  const all = new Promise((resolve) => {
    finished = resolve;
  });
  const begun = performance.now();
  const stop = await contestant.work(() => {
    left -= 1;
    if (left === 0) finished();
  });
  await all;
  while ((await contestant.left()) > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  const ended = performance.now();
  await stop();
  return (count / (ended - begun)) * 1000;
}

/** Seconds from a kill -9 of the process that holds a job to its start in another. */
async function takeover(contestant, url, leaseSeconds) {
  const child = spawn(process.execPath, ['--import', 'tsx', holder, url, `${leaseSeconds}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await contestant.add(1);
  await once(child.stdout, 'data');
  // Somewhere between two heartbeats.
  await new Promise((resolve) => setTimeout(resolve, Math.random() * leaseSeconds * 333));
  let arrived = () => undefined;
  const started = new Promise((resolve) => {
    arrived = resolve;
  });
  const stop = await contestant.work(() => arrived(performance.now()));
  const killed = performance.now();
  child.kill('SIGKILL');
  const ended = await started;
  await stop();
  return (ended - killed) / 1000;
}

async function drainMillion(contestant, jobs) {
  await contestant.clear();
  const begun = performance.now();
  await contestant.addMany(1_000_000);
  console.log(`a million jobs enqueued: ${Math.round(1e9 / (performance.now() - begun))}/s`);
  let seen = 0;
  let finished = () => undefined;
  const enough = new Promise((resolve) => {
    finished = resolve;
  });
  const start = performance.now();
  const stop = await contestant.work(() => {
    seen += 1;
    if (seen === jobs * 4) finished(performance.now());
  });
  const ended = await enough;
  await stop();
  console.log(`drain with a million waiting: ${Math.round(((jobs * 4) / (ended - start)) * 1000)}/s`);
}

function report(contestants, results) {
  const mine = results[0];
  const rows = contestants.map(({ name }, index) => {
    const { latencies, rates } = results[index];
    return [
      name,
      quantile(latencies, 0.5).toFixed(1),
      quantile(latencies, 0.95).toFixed(1),
      quantile(rates, 0.5).toFixed(0),
      `${Math.min(...rates).toFixed(0)}–${Math.max(...rates).toFixed(0)}`,
      (quantile(mine.rates, 0.5) / quantile(rates, 0.5)).toFixed(2),
    ];
  });
  const head = ['', 'p50 ms', 'p95 ms', 'drain/s at 10', 'range', 'ours is × it'];
  console.log([head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n'));
}

function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}

async function asAdmin(url, statement) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
