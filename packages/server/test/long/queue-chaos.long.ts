import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { sql } from 'kysely';
import Type from 'typebox';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { newId } from '../../src/foundation/ids.js';
import { defineJob } from '../../src/foundation/queue/define.js';
import { enqueueMany } from '../../src/foundation/queue/enqueue.js';
import { createTestDatabase, type TestDatabase } from '../database.js';

const jobs = 3_000;
const kills = 12;
const leaseSeconds = 1;
const seed = 20_261_124;
const worker = fileURLToPath(new URL('./queue-chaos-worker.ts', import.meta.url));

let scene: TestDatabase;
let workers: ChildProcess[] = [];

beforeEach(async () => {
  scene = await createTestDatabase();
  await sql`CREATE TABLE effects (n integer NOT NULL, fenced boolean NOT NULL)`.execute(scene.database.db);
});
afterEach(async () => {
  await Promise.all(workers.map(kill));
  workers = [];
  await scene.close();
});

function start(name: string): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', worker, scene.url, name, `${leaseSeconds}`], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  workers.push(child);
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Lets a process sleep through its leases and wake up in the belief that it holds them. */
async function pause(child: ChildProcess): Promise<void> {
  child.kill('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, leaseSeconds * 2_000));
  child.kill('SIGCONT');
}

/** Numbers in [0, 1), the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const count = async (table: string) => {
  const { rows } = await scene.database.pool.query<{ count: number }>(`SELECT count(*) FROM ${table}`);
  return rows[0]!.count;
};

async function until(condition: () => Promise<boolean>, limitMs: number): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('it did not come to that in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('four workers, twelve kill −9, three long pauses, 3,000 jobs: none lost, none left, none finished twice', async () => {
  const random = seeded(seed);
  const { db } = scene.database;
  const payload = Type.Object({ n: Type.Integer() });
  const projects = [newId(), newId(), newId()];
  for (const [offset, name] of ['fenced', 'plain'].entries()) {
    const items = Array.from({ length: jobs / 2 }, (_, index) => ({
      payload: { n: index * 2 + offset },
      projectId: projects[index % 3],
    }));
    await db
      .transaction()
      .execute((tx) => enqueueMany(tx, defineJob({ name, payload, attempts: 50 }), items));
  }
  const present = [0, 1, 2, 3].map((n) => start(`worker-${n}`));

  const pauses: Promise<void>[] = [];
  for (let killed = 0; killed < kills; killed += 1) {
    // Each victim falls once a seeded share of the work is done, so that it always has jobs in hand.
    const threshold = Math.floor((jobs * (killed + random())) / (kills + 1));
    await until(async () => (await count('finished_jobs')) >= threshold, 30_000);
    if (killed % 4 === 1) pauses.push(pause(present[Math.floor(random() * present.length)]!));
    const victim = Math.floor(random() * present.length);
    await kill(present[victim]!);
    present[victim] = start(`worker-${killed + 4}`);
  }
  await Promise.all(pauses);
  await until(async () => (await count('finished_jobs')) === jobs, 60_000);

  expect(await count('waiting_jobs')).toBe(0);
  expect(await count('running_jobs')).toBe(0);
  expect(await count("finished_jobs WHERE state <> 'done'")).toBe(0);
  expect(await count('(SELECT DISTINCT n FROM effects) AS marks')).toBe(jobs);
  // What commits together with the job's end happens exactly once, however often its process dies.
  expect(await count('effects WHERE fenced')).toBe(jobs / 2);
  expect(await count('finished_jobs WHERE attempt > 1')).toBeGreaterThan(0);
});
