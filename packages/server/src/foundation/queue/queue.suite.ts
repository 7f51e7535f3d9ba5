import Type, { type Static, type TSchema } from 'typebox';

import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import type { Db } from '../database/connect.js';
import { newId } from '../ids.js';
import { createLog, type Log } from '../log.js';
import { exchange, type ClaimedJob, type Held } from './claim.js';
import { defineJob, type JobKind } from './define.js';
import { enqueue, enqueueMany, type EnqueueItem, type EnqueueOptions } from './enqueue.js';
import { createRunner, type Runner, type RunnerOptions } from './runner.js';

/** The kind most tests use. */
export const note = defineJob({ name: 'note', payload: Type.Object({ n: Type.Integer() }), attempts: 3 });
export const otherKind = defineJob({ name: 'other', payload: Type.Object({}) });

/** A job wherever it is. */
export interface JobRow {
  readonly id: string;
  readonly place: 'waiting' | 'running' | 'done' | 'dead' | 'cancelled' | 'merged';
  readonly attempt: number;
  readonly error: string | null;
}

/** A queue in a database of the test file's own. */
export interface TestQueue {
  readonly db: Db;
  readonly url: string;
  readonly log: Log;
  /** Lines that runners have logged, as objects. */
  readonly lines: Record<string, unknown>[];
  add<S extends TSchema>(
    kind: JobKind<S>,
    payload: Static<S>,
    options?: EnqueueOptions,
  ): Promise<string | undefined>;
  addMany<S extends TSchema>(
    kind: JobKind<S>,
    items: readonly EnqueueItem<S>[],
  ): Promise<(string | undefined)[]>;
  claim(want: number, kinds?: readonly string[]): Promise<ClaimedJob[]>;
  finish(done: readonly Held[]): Promise<Set<string>>;
  /** Starts a runner with a short poll and a quick backoff. */
  runner(options: Pick<RunnerOptions, 'handlers'> & Partial<RunnerOptions>): Runner;
  job(id: string | undefined): Promise<JobRow | undefined>;
  /** Lets the leases of running jobs be over. */
  expireLeases(): Promise<void>;
  /** Stops every runner that the test has made and forgets all jobs. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

export async function openQueue(): Promise<TestQueue> {
  const test: TestDatabase = await createTestDatabase({ poolSize: 20 });
  const { db, pool } = test.database;
  const lines: Record<string, unknown>[] = [];
  const log = await createLog({
    level: 'debug',
    pretty: false,
    destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const runners: Runner[] = [];
  const base = { token: '', holder: 'test', leaseSeconds: 30 };
  return {
    db,
    url: test.url,
    log,
    lines,
    add: (kind, payload, options) => db.transaction().execute((tx) => enqueue(tx, kind, payload, options)),
    addMany: (kind, items) => db.transaction().execute((tx) => enqueueMany(tx, kind, items)),
    async claim(want, kinds = [note.name]) {
      return (await exchange(db, { ...base, done: [], want, kinds, token: newId() })).claimed;
    },
    async finish(done) {
      return (await exchange(db, { ...base, done, want: 0, kinds: [], token: newId() })).finished;
    },
    runner(options) {
      const runner = createRunner({
        db,
        concurrency: 10,
        name: 'test',
        log,
        pollMs: 25,
        graceMs: 50,
        backoff: { firstSeconds: 0.02, factor: 1, longestSeconds: 0.02 },
        ...options,
      });
      runners.push(runner);
      runner.start();
      return runner;
    },
    async job(id) {
      const { rows } = await pool.query<JobRow>(
        `SELECT id, 'waiting' AS place, attempt, error FROM waiting_jobs WHERE id = $1
         UNION ALL SELECT id, 'running', attempt, error FROM running_jobs WHERE id = $1
         UNION ALL SELECT id, state, attempt, error FROM finished_jobs WHERE id = $1`,
        [id],
      );
      if (rows.length > 1) throw new Error(`a job is in ${rows.map((row) => row.place).join(' and ')}`);
      return rows[0];
    },
    async expireLeases() {
      await pool.query("UPDATE running_jobs SET lease_until = now() - interval '1 second'");
    },
    async clear() {
      await Promise.all(runners.map((runner) => runner.stop({ drainMs: 1_000 })));
      runners.length = 0;
      lines.length = 0;
      for (const table of ['waiting_jobs', 'running_jobs', 'cancelled_jobs', 'finished_jobs', 'timetable']) {
        await pool.query(`DELETE FROM ${table}`);
      }
    },
    close: () => test.close(),
  };
}

/** Waits until it is so; the test's own time limit ends it. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A promise that others settle. */
export function gate(): { readonly passed: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

/** Ends when the signal aborts, with its reason, as a well-behaved handler does. */
export function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
