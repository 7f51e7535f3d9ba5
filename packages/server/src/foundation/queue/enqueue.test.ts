import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';

import { newId } from '../ids.js';
import { cancel } from './cancel.js';
import { enqueue } from './enqueue.js';
import { note, openQueue, otherKind, type TestQueue } from './queue.suite.js';
import { retryLater } from './give-back.js';
import { admitDue } from './takeover.js';

let queue: TestQueue;
beforeAll(async () => {
  queue = await openQueue();
});
afterEach(() => queue.clear());
afterAll(() => queue.close());

test('a transaction that rolls back enqueues nothing', async () => {
  const failed = queue.db.transaction().execute(async (tx) => {
    await enqueue(tx, note, { n: 1 });
    throw new Error('changed my mind');
  });
  await expect(failed).rejects.toThrow('changed my mind');
  expect(await queue.claim(1)).toEqual([]);
});

test('a payload that does not fit its kind is refused, one or many', async () => {
  const wrong = JSON.parse('{"n":"secret"}') as { n: number };
  await expect(queue.add(note, wrong)).rejects.toThrow('payload of a note job: /n must be integer');
  await expect(queue.addMany(note, [{ payload: { n: 1 } }, { payload: wrong }])).rejects.toThrow(
    '/n must be integer',
  );
  expect(await queue.claim(2)).toEqual([]);
});

test('many jobs are added at once, each with its own options', async () => {
  const projectId = newId();
  const ids = await queue.addMany(note, [
    { payload: { n: 1 }, lane: 'background' },
    { payload: { n: 2 }, projectId, dedupeKey: 'x' },
    { payload: { n: 3 }, dedupeKey: 'x' },
    { payload: { n: 4 }, afterSeconds: 3600 },
    { payload: { n: 5 }, lane: 'interactive', runAt: new Date(0) },
  ]);
  expect(ids.map((id) => id !== undefined)).toEqual([true, true, false, true, true]);
  const claimed = await queue.claim(10);
  expect(claimed.map((job) => job.payload)).toEqual([{ n: 5 }, { n: 2 }, { n: 1 }]);
  expect(claimed[1]).toMatchObject({ id: ids[1], projectId, attempt: 1, maxAttempts: 3 });
  expect(await queue.addMany(note, [])).toEqual([]);
});

test('a job with a time waits for it, by the database’s clock', async () => {
  const later = await queue.add(note, { n: 1 }, { runAt: new Date(Date.now() + 3_600_000) });
  const past = await queue.add(note, { n: 2 }, { runAt: new Date(Date.now() - 3_600_000) });
  expect((await queue.claim(10)).map((job) => job.id)).toEqual([past]);
  expect(await admitDue(queue.db)).toEqual({ admitted: 0, more: false });
  await queue.db
    .updateTable('waiting_jobs')
    .set({ run_at: new Date(0) })
    .execute();
  expect(await admitDue(queue.db)).toEqual({ admitted: 1, more: false });
  expect((await queue.claim(10)).map((job) => job.id)).toEqual([later]);
});

test('of jobs with one dedupe key one waits, and one more while that is running', async () => {
  const options = { dedupeKey: 'same' };
  const first = await queue.add(note, { n: 1 }, options);
  expect(first).toBeDefined();
  expect(await queue.add(note, { n: 2 }, options)).toBeUndefined();
  expect(await queue.add(otherKind, {}, options), 'keys of other kinds are others').toBeDefined();
  expect(await queue.claim(10)).toHaveLength(1);
  expect(await queue.add(note, { n: 3 }, options)).toBeDefined();
  expect(await queue.add(note, { n: 4 }, options)).toBeUndefined();
});

test('a retry that meets a newcomer with its dedupe key leaves the work to it', async () => {
  const first = await queue.add(note, { n: 1 }, { dedupeKey: 'same' });
  const [held] = await queue.claim(1);
  const newcomer = await queue.add(note, { n: 2 }, { dedupeKey: 'same' });
  expect(await retryLater(queue.db, held!, { delaySeconds: 0, error: 'E: no' })).toBe('merged');
  expect(await queue.job(first)).toMatchObject({ place: 'merged', error: 'E: no' });
  expect(await queue.job(newcomer)).toMatchObject({ place: 'waiting', attempt: 0 });
});

test('parallel transactions with one dedupe key add one job, and none when the first rolls back', async () => {
  const added = await Promise.all(
    Array.from({ length: 10 }, (_, n) => queue.add(note, { n }, { dedupeKey: 'same' })),
  );
  expect(added.filter((id) => id !== undefined)).toHaveLength(1);
  expect(await queue.claim(10)).toHaveLength(1);
});

test('waiting jobs are cancelled by id, by dedupe key and by project', async () => {
  const [projectId, other] = [newId(), newId()];
  const byId = await queue.add(note, { n: 1 });
  const byKey = await queue.add(note, { n: 2 }, { dedupeKey: 'k' });
  const ofProject = await queue.add(note, { n: 3 }, { projectId, afterSeconds: 60 });
  const ofKind = await queue.add(otherKind, {}, { projectId });
  const stays = await queue.add(note, { n: 4 }, { projectId: other });
  const cancelled = await queue.db
    .transaction()
    .execute(async (tx) => [
      await cancel(tx, { id: byId! }),
      await cancel(tx, { kind: note, dedupeKey: 'k' }),
      await cancel(tx, { projectId, kind: otherKind }),
      await cancel(tx, { projectId }),
      await cancel(tx, { id: newId() }),
    ]);
  expect(cancelled.map((result) => result.waiting)).toEqual([1, 1, 1, 1, 0]);
  for (const id of [byId, byKey, ofProject, ofKind]) {
    expect(await queue.job(id)).toMatchObject({ place: 'cancelled' });
  }
  expect((await queue.claim(10, ['note', 'other'])).map((job) => job.id)).toEqual([stays]);
});

test('a cancelled job that was running is not retried', async () => {
  const id = await queue.add(note, { n: 1 });
  const [held] = await queue.claim(1);
  const result = await queue.db.transaction().execute((tx) => cancel(tx, { id: id! }));
  expect(result).toEqual({ waiting: 0, running: 1 });
  expect(await retryLater(queue.db, held!, { delaySeconds: 0, error: 'stopped' })).toBe('cancelled');
  expect(await queue.job(id)).toMatchObject({ place: 'cancelled', error: 'stopped' });
});
