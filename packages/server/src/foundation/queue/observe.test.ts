import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';

import { newId } from '../ids.js';
import { bury } from './finish.js';
import { handle } from './define.js';
import { forgetFinished, listDead, oldestWaitingAge, queueDepth, retryDead } from './observe.js';
import { note, openQueue, otherKind, type TestQueue } from './queue.suite.js';

let queue: TestQueue;
beforeAll(async () => {
  queue = await openQueue();
});
afterEach(() => queue.clear());
afterAll(() => queue.close());

const handler = handle(note, async () => undefined);

async function addDead(n: number, options: { projectId?: string; dedupeKey?: string } = {}): Promise<string> {
  const id = await queue.add(note, { n }, options);
  const [held] = await queue.claim(1);
  await bury(queue.db, held!, handler, `reason ${n}`);
  return id!;
}

test('jobs are counted by kind and state', async () => {
  await addDead(0);
  await queue.add(note, { n: 1 });
  await queue.claim(1);
  await queue.expireLeases();
  await queue.add(note, { n: 2 });
  await queue.claim(1);
  await queue.addMany(note, [
    { payload: { n: 3 } },
    { payload: { n: 4 } },
    { payload: { n: 5 }, afterSeconds: 60 },
  ]);
  await queue.add(otherKind, {});
  expect(await queueDepth(queue.db)).toEqual([
    { kind: 'note', state: 'dead', count: 1 },
    { kind: 'note', state: 'delayed', count: 1 },
    { kind: 'note', state: 'expired', count: 1 },
    { kind: 'note', state: 'running', count: 1 },
    { kind: 'note', state: 'waiting', count: 2 },
    { kind: 'other', state: 'waiting', count: 1 },
  ]);
});

test('the age of the oldest waiting job counts from when it could have run', async () => {
  expect(await oldestWaitingAge(queue.db)).toEqual({ interactive: 0, normal: 0, background: 0 });
  await queue.add(note, { n: 1 }, { runAt: new Date(Date.now() - 60_000) });
  await queue.add(note, { n: 1 }, { runAt: new Date(Date.now() + 60_000), lane: 'background' });
  const age = await oldestWaitingAge(queue.db);
  expect(age.normal).toBeGreaterThan(55);
  expect(age.normal).toBeLessThan(120);
  expect(age).toMatchObject({ interactive: 0, background: 0 });
});

test('dead letters are listed newest first, by page and by project', async () => {
  const projectId = newId();
  const first = await addDead(1, { projectId });
  const second = await addDead(2);
  const third = await addDead(3, { projectId });
  const ids = async (page: Parameters<typeof listDead>[1]) =>
    (await listDead(queue.db, page)).map((dead) => dead.id);
  expect(await ids({ limit: 2 })).toEqual([third, second]);
  expect(await ids({ limit: 2, before: second })).toEqual([first]);
  expect(await ids({ limit: 5, projectId })).toEqual([third, first]);
  const [letter] = await listDead(queue.db, { limit: 1 });
  expect(letter).toMatchObject({ id: third, kind: 'note', projectId, attempt: 1, error: 'reason 3' });
});

test('a dead letter that is retried goes on counting its attempts', async () => {
  const projectId = newId();
  const id = await addDead(1, { projectId });
  const retry = (options: { attempts: number; projectId?: string }) =>
    queue.db.transaction().execute((tx) => retryDead(tx, id, options));
  expect(await retry({ attempts: 2, projectId: newId() })).toBe(false);
  expect(await retry({ attempts: 2, projectId })).toBe(true);
  expect(await retry({ attempts: 2, projectId })).toBe(false);
  expect(await queue.claim(1)).toMatchObject([
    { id, payload: { n: 1 }, projectId, attempt: 2, maxAttempts: 3 },
  ]);
});

test('a dead letter whose work a newcomer will do is merged into it', async () => {
  const id = await addDead(1, { dedupeKey: 'same' });
  await queue.add(note, { n: 2 }, { dedupeKey: 'same' });
  expect(await queue.db.transaction().execute((tx) => retryDead(tx, id, { attempts: 1 }))).toBe(true);
  expect(await queue.job(id)).toMatchObject({ place: 'merged' });
});

test('finished jobs are forgotten after their time, dead letters after a longer one', async () => {
  const dead = await addDead(1);
  const done = await queue.add(note, { n: 2 });
  await queue.finish(await queue.claim(1));
  const times = { olderThanSeconds: 3600, deadOlderThanSeconds: 7200 };
  const age = (seconds: number) =>
    queue.db
      .updateTable('finished_jobs')
      .set({ finished_at: new Date(Date.now() - seconds * 1000) })
      .execute();
  expect(await forgetFinished(queue.db, times)).toBe(0);
  await age(5_000);
  expect(await forgetFinished(queue.db, times)).toBe(1);
  expect(await queue.job(done)).toBeUndefined();
  expect(await queue.job(dead)).toMatchObject({ place: 'dead' });
  await age(10_000);
  expect(await forgetFinished(queue.db, times)).toBe(1);
});
