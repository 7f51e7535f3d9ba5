import { setTimeout as delay } from 'node:timers/promises';

import type { Db } from '../database/connect.js';
import type { Log } from '../log.js';
import type { Outcome } from './attempt.js';
import { backoffSeconds, type Backoff } from './backoff.js';
import type { ClaimedJob } from './claim.js';
import { LeaseLost, type JobHandler } from './define.js';
import { describeError } from './failure.js';
import { bury } from './finish.js';
import { release, retryLater } from './give-back.js';

/** Ends of attempts that are not simply "done". */
export type Failure = Extract<Outcome, { kind: 'failed' | 'stopped' }>;

export interface SettleOptions {
  readonly db: Db;
  readonly handler: JobHandler;
  readonly backoff: Backoff;
  readonly log: Log;
  /** Ends the repetitions while the database is away. */
  readonly signal: AbortSignal;
}

/** 0.2 + 0.4 + … + 6.4 s: outlasts a restart of the database. What is longer, the lease decides. */
const repetitions = 6;
const firstDelayMs = 200;

/**
 * Writes down how an attempt failed: a retry, a dead letter, a cancelled job, or a job given back. Never rejects:
 * when it cannot be written, the job is taken over after its lease.
 */
export async function settle(job: ClaimedJob, failure: Failure, options: SettleOptions): Promise<void> {
  const log = options.log.child({ job: job.id, kind: job.kind, attempt: job.attempt });
  if (failure.kind === 'stopped' && failure.by === 'lost') {
    log.warn('an attempt was given up because its lease is lost');
    return;
  }
  for (let repetition = 0; ; repetition += 1) {
    try {
      await write(job, failure, options, log);
      return;
    } catch (error) {
      if (error instanceof LeaseLost) {
        log.warn('an attempt failed after its job was taken over or finished');
        return;
      }
      if (repetition === repetitions || options.signal.aborted) {
        log.error({ err: error }, 'the end of an attempt cannot be written down; its lease will run out');
        return;
      }
      log.debug({ err: error }, 'the end of an attempt could not be written down; once more');
      await pause(firstDelayMs * 2 ** repetition, options.signal);
    }
  }
}

async function write(job: ClaimedJob, failure: Failure, options: SettleOptions, log: Log): Promise<void> {
  const { db, handler } = options;
  if (failure.kind === 'stopped' && failure.by === 'shutdown') {
    held(await release(db, job));
    log.info('gave a job back, because the process stops');
    return;
  }
  if (failure.kind === 'stopped') {
    held(await retryLater(db, job, { delaySeconds: 0, error: 'cancelled' }));
    return;
  }
  const reason = describeError(failure.error);
  if (failure.permanent || job.attempt >= job.maxAttempts) {
    await bury(db, job, handler, reason);
    log.error({ err: failure.error }, 'a job failed for good');
    return;
  }
  const delaySeconds = backoffSeconds(job.attempt, options.backoff, Math.random());
  const state = held(await retryLater(db, job, { delaySeconds, error: reason }));
  log.warn({ err: failure.error, delaySeconds, state }, 'an attempt failed');
}

function held<T>(result: T | undefined): T {
  if (result === undefined) throw new LeaseLost('another process has taken the job over');
  return result;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    // The runner stops: the caller looks at the signal and tries one last time.
    if (!signal.aborted) throw error;
  }
}
