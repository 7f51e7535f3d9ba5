import { setTimeout as delay } from 'node:timers/promises';

import type { Db } from '../database/connect.js';
import { newId } from '../ids.js';
import type { Log } from '../log.js';
import type { Stop } from './attempt.js';
import { anyCancelled } from './cancel.js';
import { standardBackoff, type Backoff } from './backoff.js';
import { PermanentFailure, type JobHandler } from './define.js';
import { releaseExpired } from './give-back.js';
import { heldKey, renewLeases } from './heartbeat.js';
import { listen, type Listener } from '../database/listen.js';
import { cancelNotice, channel } from './listen.js';
import { createOutage } from './outage.js';
import { repeat } from './repeat.js';
import { createSlots } from './slots.js';
import { admitDue, claimExpiredLast } from './takeover.js';

export interface RunnerOptions {
  /** For the queue's own statements and for `context.finish`. It needs two connections at a time at most. */
  readonly db: Db;
  /** One for each kind that this process runs; jobs of other kinds are left to others. */
  readonly handlers: readonly JobHandler[];
  /** Jobs that run at the same time. */
  readonly concurrency: number;
  /** Most jobs of a kind that run at the same time; others may take all there is. */
  readonly atMost?: ReadonlyMap<string, number> | undefined;
  /** Name of this process in rows and logs, for people. */
  readonly name: string;
  readonly log: Log;
  /**
   * Where to LISTEN: a direct session, not one behind a transaction pooler. Without it, work is only found by
   * polling.
   */
  readonly listenUrl?: string | undefined;
  /** A job whose process has been silent for this long is taken over; default 30. */
  readonly leaseSeconds?: number | undefined;
  /** How often to look for work, due times and expired leases when nothing wakes the runner; default 1,000. */
  readonly pollMs?: number | undefined;
  /** Time a handler has to return after its signal aborted; default 5,000. */
  readonly graceMs?: number | undefined;
  readonly backoff?: Backoff | undefined;
}

export interface Runner {
  start(): void;
  /**
   * Claims nothing more, lets running jobs end for up to `drainMs` (default 10,000), then aborts their signals and
   * gives what is left back without counting the attempt. Never rejects: what cannot be given back because the
   * database is away is taken over after its lease. Takes at most `drainMs`, the grace time and two seconds.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  /** Jobs running in this process. */
  readonly running: number;
}

/** Time to write down the ends of aborted jobs before the process goes. */
const lastWordsMs = 2_000;

/** Runs jobs. Any number of runners, in any number of processes, share one database. */
export function createRunner(options: RunnerOptions): Runner {
  const { db, concurrency, name, log } = options;
  const leaseSeconds = options.leaseSeconds ?? 30;
  const pollMs = options.pollMs ?? 1_000;
  const graceMs = options.graceMs ?? 5_000;
  const handlers = new Map(options.handlers.map((handler) => [handler.kind.name, handler]));
  const kinds = [...handlers.keys()];
  const outage = createOutage(log);
  const slots = createSlots({
    db,
    handlers,
    concurrency,
    atMost: options.atMost ?? new Map(),
    holder: name,
    leaseSeconds,
    graceMs,
    backoff: options.backoff ?? standardBackoff,
    log,
    outage,
  });
  let started = false;
  let stopped: Promise<void> | undefined;
  let listener: Listener | undefined;

  /** Renews all leases and learns what became of the jobs. */
  async function beat(): Promise<void> {
    const holds = slots.holds();
    if (holds.length === 0) return;
    const startedAt = performance.now();
    try {
      const known = await renewLeases(
        db,
        holds.map((hold) => hold.job),
        leaseSeconds,
      );
      outage.succeeded();
      for (const hold of holds) {
        const state = known.get(heldKey(hold.job));
        if (state) hold.renewedAt = startedAt;
        if (!state) hold.attempt?.stop('lost');
        else if (state.cancelled) hold.attempt?.stop('cancelled');
      }
    } catch (error) {
      outage.failed(error);
    }
  }

  /**
   * Ends attempts whose lease has run out by this process's own clock: others may be running these jobs by now.
   * Besides the beat, because a beat may hang in a connection that leads nowhere.
   */
  async function endOverdue(): Promise<void> {
    for (const hold of slots.holds()) {
      if (performance.now() - hold.renewedAt > leaseSeconds * 1000) hold.attempt?.stop('lost');
    }
  }

  /** Takes over what others have dropped, lets in what is due, and looks for work that nobody announced. */
  async function poll(): Promise<void> {
    try {
      for (const [job, state] of await releaseExpired(db, kinds)) {
        log.warn({ job, state }, 'took a job back whose worker fell silent');
      }
      const token = newId();
      for (const job of await claimExpiredLast(db, { kinds, token, holder: name, leaseSeconds })) {
        const error = new PermanentFailure(
          `the worker ${job.formerHolder} stopped answering during the last attempt`,
        );
        await slots.settle(job, { kind: 'failed', error, permanent: true });
      }
      while ((await admitDue(db)).more);
      if (slots.running > 0 && (await anyCancelled(db))) beating.now();
      outage.succeeded();
    } catch (error) {
      outage.failed(error);
    }
    slots.wake();
  }

  const polling = repeat(poll, () => pollMs * (0.9 + Math.random() * 0.2));
  const beating = repeat(beat, () => (leaseSeconds * 1000) / 3);
  const watching = repeat(endOverdue, () => (leaseSeconds * 1000) / 3);

  async function stop(drainMs: number): Promise<void> {
    slots.close();
    const quiet = Promise.all([polling.stop(), listener?.close()]).then(() => undefined);
    if (!(await within(slots.whenEmpty(), drainMs))) {
      stopAll('shutdown');
      if (!(await within(slots.whenEmpty(), graceMs + lastWordsMs))) {
        slots.giveUp();
        log.error(
          { jobs: slots.holds().length },
          'stopped with jobs in hand; they are taken over after their lease',
        );
      }
    }
    await within(
      Promise.all([quiet, beating.stop(), watching.stop()]).then(() => undefined),
      lastWordsMs,
    );
  }

  function stopAll(by: Stop): void {
    for (const hold of slots.holds()) hold.attempt?.stop(by);
  }

  return {
    start() {
      if (started) throw new TypeError('a runner starts once');
      started = true;
      polling.start(0);
      beating.start();
      watching.start();
      if (options.listenUrl !== undefined) {
        listener = listen({
          channel,
          url: options.listenUrl,
          applicationName: `${name} (listening for jobs)`,
          log,
          onNotice: (notice) => (notice === cancelNotice ? beating.now() : slots.wake()),
        });
      }
    },
    stop({ drainMs = 10_000 } = {}) {
      stopped ??= stop(drainMs);
      return stopped;
    },
    get running() {
      return slots.running;
    },
  };
}

/** True when the work, which never rejects, ends in time. */
async function within(work: Promise<void>, ms: number): Promise<boolean> {
  const timeout = new AbortController();
  const ended = await Promise.race([
    work.then(() => true),
    delay(ms, false, { signal: timeout.signal }).catch(() => false),
  ]);
  timeout.abort();
  return ended;
}
