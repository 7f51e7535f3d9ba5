import type { Db } from '../database/connect.js';
import { newId } from '../ids.js';
import type { Log } from '../log.js';
import { beginAttempt, type Attempt } from './attempt.js';
import type { Backoff } from './backoff.js';
import { exchange, type ClaimedJob, type Held } from './claim.js';
import type { JobHandler } from './define.js';
import { heldKey } from './heartbeat.js';
import type { Outage } from './outage.js';
import { settle, type Failure } from './settle.js';

export interface SlotsOptions {
  readonly db: Db;
  readonly handlers: ReadonlyMap<string, JobHandler>;
  readonly concurrency: number;
  /** Most jobs of a kind that run at the same time, for kinds that may not take all the hands. */
  readonly atMost: ReadonlyMap<string, number>;
  readonly holder: string;
  readonly leaseSeconds: number;
  readonly graceMs: number;
  readonly backoff: Backoff;
  readonly log: Log;
  readonly outage: Outage;
}

/** One job in this process's hands, from its claim until its end is in the database. */
export interface Hold {
  readonly job: ClaimedJob;
  /** Absent once the handler has returned. */
  attempt: Attempt | undefined;
  /** When the lease was certainly ours for its whole length, by this process's monotonic clock (ms). */
  renewedAt: number;
}

/** The hands of a runner: claims jobs while there is a free one, runs them, and writes down how they ended. */
export interface Slots {
  /** There may be jobs waiting. */
  wake(): void;
  /** Everything whose lease must be renewed. */
  holds(): Hold[];
  readonly running: number;
  /** Claims nothing more. */
  close(): void;
  /** Resolves when nothing is running and every end is written down. */
  whenEmpty(): Promise<void>;
  /** Buries or gives back a job that is not running here, as if an attempt had ended so. */
  settle(job: ClaimedJob, failure: Failure): Promise<void>;
  /** Stops repeating what the database does not take. */
  giveUp(): void;
}

/** Pause before a failed exchange is repeated: at once it would only fail again. */
const afterFailureMs = 500;

export function createSlots(options: SlotsOptions): Slots {
  const { db, handlers, concurrency, atMost, holder, leaseSeconds, graceMs, backoff, log, outage } = options;
  const holds = new Map<string, Hold>();
  const repeating = new AbortController();
  const runningOf = new Map<string, number>();
  let running = 0;
  let done: Held[] = [];
  let work = false;
  let open = true;
  let exchanging = false;
  let emptied: (() => void)[] = [];

  const free = () => (open ? concurrency - running : 0);
  const count = (kind: string, by: 1 | -1): void => {
    running += by;
    runningOf.set(kind, (runningOf.get(kind) ?? 0) + by);
  };

  /** What may be claimed now: kinds that have their number of hands are left out, and none gets more than it has. */
  function wish(): { readonly kinds: string[]; readonly want: number } {
    const rooms = [...handlers.keys()].map((kind) => ({
      kind,
      room: (atMost.get(kind) ?? Infinity) - (runningOf.get(kind) ?? 0),
    }));
    const roomy = rooms.filter(({ room }) => room > 0);
    const want = roomy.length === 0 ? 0 : Math.min(free(), ...roomy.map(({ room }) => room));
    return { kinds: roomy.map(({ kind }) => kind), want };
  }

  /** One round trip at a time: while it is under way the next batch gathers. */
  function pump(): void {
    if (exchanging || (done.length === 0 && !(work && free() > 0))) return;
    exchanging = true;
    void exchangeOnce().then((succeeded) => {
      exchanging = false;
      if (succeeded) pump();
      else if (!repeating.signal.aborted) setTimeout(pump, afterFailureMs).unref();
      tellWhenEmpty();
    });
  }

  /** Never rejects. */
  async function exchangeOnce(): Promise<boolean> {
    // Jobs that end in this turn of the event loop go along.
    await new Promise((resolve) => setImmediate(resolve));
    const batch = done;
    const { kinds, want } = wish();
    done = [];
    work = false;
    const startedAt = performance.now();
    try {
      const result = await exchange(db, { done: batch, want, kinds, token: newId(), holder, leaseSeconds });
      outage.succeeded();
      for (const held of batch) {
        if (!result.finished.has(held.id)) log.warn({ job: held.id }, 'a job ended after it was taken over');
        drop(held);
      }
      // Fewer than wanted: nothing waits any more, until a notice or a poll says otherwise.
      if (want > 0 && result.claimed.length === want) work = true;
      for (const job of result.claimed) begin(job, startedAt);
      return true;
    } catch (error) {
      outage.failed(error);
      done = [...batch, ...done];
      work = true;
      return false;
    }
  }

  function begin(job: ClaimedJob, renewedAt: number): void {
    const hold: Hold = { job, attempt: undefined, renewedAt };
    holds.set(heldKey(job), hold);
    if (!open) {
      void writeDown(job, { kind: 'stopped', by: 'shutdown' });
      return;
    }
    count(job.kind, 1);
    const attempt = beginAttempt(job, handlerOf(job), { db, log, graceMs });
    hold.attempt = attempt;
    // Outcomes never reject.
    void attempt.outcome.then((outcome) => {
      hold.attempt = undefined;
      count(job.kind, -1);
      // Its like may wait, and was not asked for while there was no room for it.
      if (atMost.has(job.kind)) work = true;
      if (outcome.kind === 'done') done.push(job);
      else if (outcome.kind === 'finished') drop(job);
      else void writeDown(job, outcome);
      pump();
    });
  }

  /** Never rejects, because `settle` does not. */
  async function writeDown(job: ClaimedJob, failure: Failure): Promise<void> {
    await settle(job, failure, { db, handler: handlerOf(job), backoff, log, signal: repeating.signal });
    drop(job);
  }

  function drop(held: Held): void {
    holds.delete(heldKey(held));
    tellWhenEmpty();
  }

  function isEmpty(): boolean {
    // A claim under way may still bring jobs, which are given back at once.
    return holds.size === 0 && !exchanging;
  }

  function tellWhenEmpty(): void {
    if (!isEmpty()) return;
    const waiters = emptied;
    emptied = [];
    for (const resolve of waiters) resolve();
  }

  function handlerOf(job: ClaimedJob): JobHandler {
    const handler = handlers.get(job.kind);
    // The statements name our kinds only.
    if (!handler) throw new TypeError(`holds a job of the foreign kind ${job.kind}`);
    return handler;
  }

  return {
    wake() {
      work = true;
      pump();
    },
    holds: () => [...holds.values()],
    get running() {
      return running;
    },
    close() {
      open = false;
    },
    async whenEmpty() {
      if (isEmpty()) return;
      await new Promise<void>((resolve) => emptied.push(resolve));
    },
    settle: writeDown,
    giveUp() {
      repeating.abort();
    },
  };
}
