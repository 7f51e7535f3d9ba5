import type { Db } from '../database/connect.js';
import type { Log } from '../log.js';
import type { ClaimedJob } from './claim.js';
import { LeaseLost, PermanentFailure, type JobContext, type JobHandler } from './define.js';
import { payloadFault } from './enqueue.js';
import { complete } from './finish.js';

/** How one attempt ended. */
export type Outcome =
  /** The handler returned: the job is to be marked done. */
  | { readonly kind: 'done' }
  /** The handler finished the job in its own transaction. */
  | { readonly kind: 'finished' }
  | { readonly kind: 'failed'; readonly error: unknown; readonly permanent: boolean }
  | { readonly kind: 'stopped'; readonly by: Stop };

/** Why an attempt was ended from outside. */
export type Stop = 'lost' | 'cancelled' | 'shutdown' | 'timeout';

/** The reason of a job's signal. */
export class Stopped extends Error {
  override readonly name: string = 'Stopped';
  readonly by: Stop;

  constructor(by: Stop, message: string) {
    super(message);
    this.by = by;
  }
}

/** One attempt under way. */
export interface Attempt {
  readonly job: ClaimedJob;
  /** Never rejects. Settles within the grace time after `stop`, whatever the handler does. */
  readonly outcome: Promise<Outcome>;
  /** Aborts the handler's signal. The first reason counts, save that a lost lease outweighs any other. */
  stop(by: Stop): void;
}

export interface AttemptOptions {
  readonly db: Db;
  readonly log: Log;
  /** Milliseconds that a handler has to return after its signal has aborted; then its slot is given to others. */
  readonly graceMs: number;
}

/** Node runs timers beyond this at once. */
const longestTimerMs = 2 ** 31 - 1;

/** Runs a job's handler once. */
export function beginAttempt(job: ClaimedJob, handler: JobHandler, options: AttemptOptions): Attempt {
  const controller = new AbortController();
  const { timeoutSeconds } = handler.kind;
  let stoppedBy: Stop | undefined;
  let finished = false;
  let fencedOut = false;
  let abandon: (outcome: Outcome) => void = () => undefined;
  let grace: NodeJS.Timeout | undefined;
  let log: Log | undefined;

  function stop(by: Stop): void {
    if (by === 'lost') stoppedBy = 'lost';
    if (controller.signal.aborted) return;
    stoppedBy = by;
    controller.abort(
      by === 'lost'
        ? new LeaseLost('another process has taken the job over, or may have')
        : new Stopped(by, stopReason(by, timeoutSeconds)),
    );
    grace = setTimeout(() => {
      jobLog().error(
        { stoppedBy: by, graceMs: options.graceMs },
        'a handler ignores its abort signal; its slot is given away while it still runs',
      );
      abandon(endOf(undefined));
    }, options.graceMs);
  }

  /** What the end of the handler means after everything that happened to the attempt. */
  function endOf(end: { readonly error: unknown } | 'returned' | undefined): Outcome {
    if (finished) return { kind: 'finished' };
    if (fencedOut || stoppedBy === 'lost') return { kind: 'stopped', by: 'lost' };
    if (stoppedBy === 'timeout' && end !== 'returned') {
      return { kind: 'failed', error: new Error(stopReason('timeout', timeoutSeconds)), permanent: false };
    }
    if (stoppedBy === 'cancelled') return { kind: 'stopped', by: 'cancelled' };
    if (end === 'returned') return { kind: 'done' };
    // A handler that knows that trying again cannot help is believed even while the process stops.
    if (end !== undefined && end.error instanceof PermanentFailure) {
      return { kind: 'failed', error: end.error, permanent: true };
    }
    if (stoppedBy !== undefined) return { kind: 'stopped', by: stoppedBy };
    return { kind: 'failed', error: end?.error, permanent: false };
  }

  function jobLog(): Log {
    log ??= options.log.child({
      job: job.id,
      kind: job.kind,
      attempt: job.attempt,
      ...(job.projectId === null ? {} : { projectId: job.projectId }),
    });
    return log;
  }

  const context: JobContext = {
    id: job.id,
    payload: job.payload,
    projectId: job.projectId,
    attempt: job.attempt,
    lastAttempt: job.attempt >= job.maxAttempts,
    signal: controller.signal,
    get log() {
      return jobLog();
    },
    async finish(work) {
      if (finished) throw new TypeError('a job is finished once');
      if (stoppedBy === 'lost') throw new LeaseLost('another process has taken the job over, or may have');
      try {
        const result = await options.db.transaction().execute(async (tx) => {
          const value = await work(tx);
          await complete(tx, job);
          return value;
        });
        finished = true;
        return result;
      } catch (error) {
        if (error instanceof LeaseLost) fencedOut = true;
        throw error;
      }
    },
  };

  async function run(): Promise<Outcome> {
    const fault = payloadFault(handler.kind, job.payload);
    if (fault !== undefined) {
      const error = new PermanentFailure(`the payload does not fit this version of the job: ${fault}`);
      return { kind: 'failed', error, permanent: true };
    }
    try {
      await handler.run(context);
      return endOf('returned');
    } catch (error) {
      if (finished) jobLog().warn({ err: error }, 'a handler failed after it had finished its job');
      return endOf({ error });
    }
  }

  const timer = setTimeout(() => stop('timeout'), Math.min(timeoutSeconds * 1000, longestTimerMs));
  const abandoned = new Promise<Outcome>((resolve) => {
    abandon = resolve;
  });
  const outcome = Promise.race([run(), abandoned]).finally(() => {
    clearTimeout(timer);
    clearTimeout(grace);
  });
  return { job, outcome, stop };
}

function stopReason(by: Exclude<Stop, 'lost'>, timeoutSeconds: number): string {
  if (by === 'cancelled') return 'the job was cancelled';
  if (by === 'shutdown') return 'the process is stopping';
  return `the attempt took longer than ${timeoutSeconds} s`;
}
