import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { cancel } from './cancel.js';
import { defineJob, handle, LeaseLost, PermanentFailure, type JobContext } from './define.js';
import { channel } from './listen.js';
import { aborted, gate, note, openQueue, otherKind, until, type TestQueue } from './queue.suite.js';

let queue: TestQueue;
beforeAll(async () => {
  queue = await openQueue();
});
afterEach(() => queue.clear());
afterAll(() => queue.close());

const isOver = (id: string | undefined) => async () => {
  const place = (await queue.job(id))?.place;
  return place !== 'waiting' && place !== 'running';
};

describe('a job that succeeds', () => {
  test('runs with its payload and is done', async () => {
    const seen: JobContext<typeof note.payload>[] = [];
    const id = await queue.add(note, { n: 7 });
    queue.runner({ handlers: [handle(note, async (context) => void seen.push(context))] });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done', attempt: 1, error: null });
    expect(seen).toMatchObject([{ id, payload: { n: 7 }, projectId: null, attempt: 1, lastAttempt: false }]);
  });

  test('commits its work and its end together', async () => {
    const id = await queue.add(note, { n: 1 });
    const next = handle(note, (context) =>
      context.finish(async (tx) => {
        await tx
          .insertInto('timetable')
          .values({ name: 'made', cron: '', next_run_at: new Date() })
          .execute();
      }),
    );
    queue.runner({ handlers: [next] });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done' });
    expect(await queue.db.selectFrom('timetable').select('name').execute()).toEqual([{ name: 'made' }]);
  });

  test('never shares its hand with more than it may', async () => {
    let running = 0;
    let most = 0;
    let ended = 0;
    const handler = handle(note, async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      ended += 1;
    });
    await queue.addMany(
      note,
      Array.from({ length: 200 }, (_, n) => ({ payload: { n } })),
    );
    queue.runner({ handlers: [handler], concurrency: 7 });
    await until(() => ended === 200);
    expect(most).toBe(7);
  });
});

describe('a kind that may not take all the hands', () => {
  test.each([
    ['ends by itself', (_context: JobContext) => Promise.resolve()],
    ['ends with its work', (context: JobContext) => context.finish(async () => undefined)],
  ])('leaves the others to other kinds, and goes on when one of its own %s', async (_name, end) => {
    const gates = Array.from({ length: 5 }, gate);
    const begun: number[] = [];
    let others = 0;
    const slow = handle(note, async (context) => {
      const { n } = context.payload;
      begun.push(n);
      await gates[n]?.passed;
      await end(context);
    });
    const quick = handle(otherKind, async () => void (others += 1));
    await queue.addMany(
      note,
      gates.map((_, n) => ({ payload: { n } })),
    );
    await queue.addMany(
      otherKind,
      Array.from({ length: 20 }, () => ({ payload: {} })),
    );
    // Nothing but the end of a job wakes it.
    queue.runner({
      handlers: [slow, quick],
      concurrency: 4,
      atMost: new Map([[note.name, 2]]),
      pollMs: 60_000,
    });
    await until(() => others === 20);
    expect(begun.toSorted()).toEqual([0, 1]);
    gates[0]?.open();
    await until(() => begun.length === 3);
    expect(begun.toSorted()).toEqual([0, 1, 2]);
    for (const each of gates) each.open();
    await until(() => begun.length === 5);
  });

  test('of which there is no other waits for room', async () => {
    let running = 0;
    let most = 0;
    let ended = 0;
    const handler = handle(note, async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      ended += 1;
    });
    await queue.addMany(
      note,
      Array.from({ length: 50 }, (_, n) => ({ payload: { n } })),
    );
    queue.runner({ handlers: [handler], concurrency: 10, atMost: new Map([[note.name, 3]]) });
    await until(() => ended === 50);
    expect(most).toBe(3);
  });
});

describe('a job that fails', () => {
  test('is tried again, then becomes a dead letter together with its hook', async () => {
    const attempts: number[] = [];
    const dead: unknown[] = [];
    const handler = handle(
      note,
      async ({ attempt, lastAttempt }) => {
        attempts.push(lastAttempt ? -attempt : attempt);
        throw Object.assign(new Error('cannot reach postgres://me:hunter2@db/x'), { code: 'ECONNREFUSED' });
      },
      async (tx, job, reason) => {
        dead.push({ job, reason });
        await tx
          .insertInto('timetable')
          .values({ name: 'failed', cron: '', next_run_at: new Date() })
          .execute();
      },
    );
    const id = await queue.add(note, { n: 1 });
    queue.runner({ handlers: [handler] });
    await until(isOver(id));
    const reason = 'ECONNREFUSED: cannot reach postgres://***@db/x';
    expect(await queue.job(id)).toEqual({ id, place: 'dead', attempt: 3, error: reason });
    expect(attempts).toEqual([1, 2, -3]);
    expect(dead).toEqual([{ job: { id, payload: { n: 1 }, projectId: null }, reason }]);
    expect(await queue.db.selectFrom('timetable').select('name').execute()).toEqual([{ name: 'failed' }]);
  });

  test('is dead at once when trying again cannot help', async () => {
    const id = await queue.add(note, { n: 1 });
    const run = async () => {
      throw new PermanentFailure('the picture is broken');
    };
    queue.runner({ handlers: [handle(note, run)] });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'dead', attempt: 1, error: 'the picture is broken' });
  });

  test('is dead at once when its payload is of a shape that this version does not know', async () => {
    const older = defineJob({ name: 'note', payload: otherKind.payload });
    const id = await queue.add(older, {});
    queue.runner({ handlers: [handle(note, async () => undefined)] });
    await until(isOver(id));
    expect((await queue.job(id))?.error).toMatch('the payload does not fit this version of the job');
  });

  test('stays until its hook succeeds', async () => {
    let calls = 0;
    const id = await queue.add(note, { n: 1 });
    const run = async () => {
      throw new PermanentFailure('no');
    };
    const hook = async () => {
      calls += 1;
      if (calls === 1) throw new Error('the hook fails once');
    };
    queue.runner({ handlers: [handle(note, run, hook)] });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'dead', error: 'no' });
    expect(calls).toBe(2);
  });

  test('whose work fails after `finish` began is rolled back and tried again', async () => {
    const id = await queue.add(note, { n: 1 });
    const handler = handle(note, (context) =>
      context.finish(async (tx) => {
        await tx
          .insertInto('timetable')
          .values({ name: `${context.attempt}`, cron: '', next_run_at: new Date() })
          .execute();
        if (context.attempt === 1) throw new Error('not yet');
      }),
    );
    queue.runner({ handlers: [handler] });
    await until(isOver(id));
    expect(await queue.db.selectFrom('timetable').select('name').execute()).toEqual([{ name: '2' }]);
  });
});

describe('an attempt that takes too long', () => {
  const short = defineJob({ name: 'short', payload: otherKind.payload, timeoutSeconds: 0.03, attempts: 1 });

  test('is aborted and counts as failed', async () => {
    const id = await queue.add(short, {});
    queue.runner({ handlers: [handle(short, (context) => aborted(context.signal))] });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({
      place: 'dead',
      error: 'the attempt took longer than 0.03 s',
    });
  });

  test('loses its slot when it ignores the signal, and cannot finish afterwards', async () => {
    const blocked = gate();
    const late = gate();
    let lateError: unknown;
    const stubborn = await queue.add(short, {});
    const handlers = [
      handle(short, async (context) => {
        await blocked.passed;
        await context
          .finish(async () => undefined)
          .catch((error: unknown) => {
            lateError = error;
          });
        late.open();
      }),
      handle(note, async () => undefined),
    ];
    queue.runner({ handlers, concurrency: 1 });
    await until(isOver(stubborn));
    const id = await queue.add(note, { n: 1 });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done' });
    expect(
      queue.lines.filter((line) => line['level'] === 'error' && line['stoppedBy'] === 'timeout'),
    ).toHaveLength(1);
    blocked.open();
    await late.passed;
    expect(lateError).toBeInstanceOf(LeaseLost);
    expect(await queue.job(stubborn)).toMatchObject({ place: 'dead' });
  });
});

describe('leases', () => {
  test('are renewed while a job runs, so that nobody takes it over', async () => {
    const done = gate();
    let runs = 0;
    const handler = handle(note, async () => {
      runs += 1;
      await done.passed;
    });
    const id = await queue.add(note, { n: 1 });
    const lease = { handlers: [handler], leaseSeconds: 0.6 };
    queue.runner(lease);
    queue.runner(lease);
    await until(() => runs === 1);
    const leaseUntil = async () =>
      (
        await queue.db.selectFrom('running_jobs').select('lease_until').executeTakeFirstOrThrow()
      ).lease_until.getTime();
    const first = await leaseUntil();
    await until(async () => (await leaseUntil()) > first + 300);
    done.open();
    await until(isOver(id));
    expect(runs).toBe(1);
    expect(await queue.job(id)).toMatchObject({ place: 'done', attempt: 1 });
  });

  test('that are lost abort the attempt, whose end does not count', async () => {
    const reasons: unknown[] = [];
    const id = await queue.add(note, { n: 1 });
    const handler = handle(note, async ({ attempt, signal }) => {
      if (attempt > 1) return;
      await queue.expireLeases();
      await aborted(signal).catch((error: unknown) => {
        reasons.push(error);
        throw error;
      });
    });
    // A lease whose heartbeat comes later than the poll, as if the process had been paused.
    queue.runner({ handlers: [handler], leaseSeconds: 1 });
    await until(isOver(id));
    await until(() => reasons.length === 1);
    expect(reasons[0]).toBeInstanceOf(LeaseLost);
    expect(await queue.job(id)).toMatchObject({ place: 'done', attempt: 2 });
  });

  test('that cannot be renewed any more abort the attempt before others can have it', async () => {
    let reason: unknown;
    const id = await queue.add(note, { n: 1 });
    const handler = handle(note, async ({ signal }) => {
      // The heartbeat's statement hangs.
      await queue.db.transaction().execute(async (tx) => {
        await sql`LOCK TABLE running_jobs IN ACCESS EXCLUSIVE MODE`.execute(tx);
        await aborted(signal).catch((error: unknown) => {
          reason = error;
        });
      });
      signal.throwIfAborted();
    });
    const runner = queue.runner({ handlers: [handler], leaseSeconds: 0.3 });
    await until(() => reason !== undefined);
    expect(reason).toBeInstanceOf(LeaseLost);
    await runner.stop();
    expect(await queue.job(id)).toMatchObject({ attempt: 1 });
  });

  test('of a worker that died in the last attempt make a dead letter', async () => {
    const id = await queue.add(note, { n: 1 });
    await queue.db.updateTable('waiting_jobs').set({ max_attempts: 1 }).execute();
    await queue.claim(1);
    await queue.expireLeases();
    const dead: string[] = [];
    const hook = async (_tx: unknown, _job: unknown, reason: string) => void dead.push(reason);
    queue.runner({ handlers: [handle(note, async () => undefined, hook)] });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'dead', attempt: 1 });
    expect(dead).toEqual(['the worker test stopped answering during the last attempt']);
  });
});

test('cancelling aborts a running job, which is not tried again', async () => {
  const started = gate();
  const id = await queue.add(note, { n: 1 });
  const handler = handle(note, (context) => {
    started.open();
    return aborted(context.signal);
  });
  queue.runner({ handlers: [handler], listenUrl: queue.url });
  await started.passed;
  await queue.db.transaction().execute((tx) => cancel(tx, { id: id! }));
  await until(isOver(id));
  expect(await queue.job(id)).toMatchObject({ place: 'cancelled', attempt: 1 });
  expect(await queue.db.selectFrom('cancelled_jobs').selectAll().execute()).toEqual([]);
});

describe('waking', () => {
  const quiet = { pollMs: 600_000 };

  test('a commit wakes a runner that would poll much later', async () => {
    const warm = await queue.add(note, { n: 0 });
    queue.runner({ handlers: [handle(note, async () => undefined)], listenUrl: queue.url, ...quiet });
    await until(isOver(warm));
    await until(async () => (await listeners()) === 1);
    const id = await queue.add(note, { n: 1 });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done' });
  });

  test('without notifications polling finds the work', async () => {
    queue.runner({ handlers: [handle(note, async () => undefined)] });
    const id = await queue.add(note, { n: 1 });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done' });
  });

  test('a runner whose connections are cut comes back, also to its notifications', async () => {
    const warm = await queue.add(note, { n: 0 });
    queue.runner({ handlers: [handle(note, async () => undefined)], listenUrl: queue.url, ...quiet });
    await until(isOver(warm));
    await until(async () => (await listeners()) === 1);
    await cutConnections();
    await until(async () => (await listeners()) === 1);
    const id = await queue.add(note, { n: 1 });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done' });
  });

  test('work under way while the connections are cut is done once they are back', async () => {
    const cut = gate();
    const id = await queue.add(note, { n: 1 });
    queue.runner({ handlers: [handle(note, () => cut.passed)] });
    await until(async () => (await queue.job(id))?.place === 'running');
    await cutConnections();
    cut.open();
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done', attempt: 1 });
  });

  test('a database that refuses everything is reported once, and work goes on when it is well again', async () => {
    const broken = gate();
    const ids = await queue.addMany(note, [{ payload: { n: 1 } }, { payload: { n: 2 } }]);
    const handler = handle(note, async ({ payload: { n }, attempt }) => {
      await broken.passed;
      if (n === 2 && attempt === 1) throw new Error('just now');
    });
    queue.runner({ handlers: [handler] });
    await until(async () => (await queue.job(ids[1]))?.place === 'running');
    await sql`ALTER TABLE finished_jobs RENAME TO gone`.execute(queue.db);
    await sql`ALTER TABLE waiting_jobs RENAME TO gone_too`.execute(queue.db);
    broken.open();
    const told = (message: string) => queue.lines.filter((line) => line['msg'] === message).length;
    await until(() => told('the queue still cannot use the database') > 2);
    await sql`ALTER TABLE gone_too RENAME TO waiting_jobs`.execute(queue.db);
    await sql`ALTER TABLE gone RENAME TO finished_jobs`.execute(queue.db);
    await until(async () => (await isOver(ids[0])()) && (await isOver(ids[1])()));
    expect(await queue.job(ids[0])).toMatchObject({ place: 'done', attempt: 1 });
    expect(await queue.job(ids[1])).toMatchObject({ place: 'done', attempt: 2 });
    expect(told('the queue can use the database again')).toBeGreaterThan(0);
    expect(told('the queue cannot use the database; trying again')).toBe(
      told('the queue can use the database again'),
    );
  });

  test('where nobody can listen, polling does', async () => {
    const nowhere = new URL(queue.url);
    nowhere.pathname = '/there_is_no_such_database';
    queue.runner({ handlers: [handle(note, async () => undefined)], listenUrl: nowhere.href });
    const id = await queue.add(note, { n: 1 });
    await until(isOver(id));
    expect(await queue.job(id)).toMatchObject({ place: 'done' });
    await until(() => queue.lines.some((line) => line['msg'] === 'cannot listen'));
  });

  async function listeners(): Promise<number> {
    const { rows } = await sql`
      SELECT FROM pg_stat_activity WHERE datname = current_database() AND query = ${`LISTEN ${channel}`}
    `.execute(queue.db);
    return rows.length;
  }

  async function cutConnections(): Promise<void> {
    await sql`
      WITH others AS MATERIALIZED (
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      )
      SELECT pg_terminate_backend(pid) FROM others
    `.execute(queue.db);
  }
});

describe('stopping', () => {
  test('waits for running jobs, and starts no others', async () => {
    const done = gate();
    const started = gate();
    const [first, second] = await queue.addMany(note, [{ payload: { n: 1 } }, { payload: { n: 2 } }]);
    const handler = handle(note, () => {
      started.open();
      return done.passed;
    });
    const runner = queue.runner({ handlers: [handler], concurrency: 1 });
    await started.passed;
    const stopped = runner.stop({ drainMs: 10_000 });
    done.open();
    await stopped;
    expect(await queue.job(first)).toMatchObject({ place: 'done' });
    expect(await queue.job(second)).toMatchObject({ place: 'waiting', attempt: 0 });
  });

  test('aborts what does not end in time and gives it back without counting the attempt', async () => {
    const started = gate();
    let reason: unknown;
    const id = await queue.add(note, { n: 1 });
    const handler = handle(note, async ({ signal }) => {
      started.open();
      await aborted(signal).catch((error: unknown) => {
        reason = error;
        throw error;
      });
    });
    const runner = queue.runner({ handlers: [handler] });
    await started.passed;
    await runner.stop({ drainMs: 0 });
    expect(reason).toMatchObject({ message: 'the process is stopping' });
    expect(await queue.job(id)).toMatchObject({ place: 'waiting', attempt: 1 });
    const [again] = await queue.claim(1);
    expect(again).toMatchObject({ id, attempt: 2, maxAttempts: note.attempts + 1 });
  });

  test('does not wait for a handler that ignores it', async () => {
    const started = gate();
    const never = gate();
    const id = await queue.add(note, { n: 1 });
    const handler = handle(note, () => {
      started.open();
      return never.passed;
    });
    const runner = queue.runner({ handlers: [handler] });
    await started.passed;
    await runner.stop({ drainMs: 0 });
    expect(await queue.job(id)).toMatchObject({ place: 'waiting' });
    expect(runner.running).toBe(0);
    never.open();
  });
});
