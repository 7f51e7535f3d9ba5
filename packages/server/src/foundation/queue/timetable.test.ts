import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';

import type { TimetableEntry } from './define.js';
import { note, openQueue, until, type TestQueue } from './queue.suite.js';
import { createTimetable, type TimetableRunner } from './timetable.js';

let queue: TestQueue;
let timetables: TimetableRunner[] = [];
beforeAll(async () => {
  queue = await openQueue();
});
afterEach(async () => {
  await Promise.all(timetables.map((timetable) => timetable.stop()));
  timetables = [];
  await queue.clear();
});
afterAll(() => queue.close());

const hourly: TimetableEntry<typeof note.payload> = {
  name: 'hourly',
  cron: '0 * * * *',
  kind: note,
  payload: { n: 1 },
};

function start(...entries: TimetableEntry[]): void {
  const timetable = createTimetable({ db: queue.db, entries, log: queue.log, pollMs: 10 });
  timetables.push(timetable);
  timetable.start();
}

const row = () => queue.db.selectFrom('timetable').selectAll().executeTakeFirst();

test('a new entry waits for its next full hour', async () => {
  start(hourly);
  await until(async () => (await row()) !== undefined);
  const { next_run_at: next } = (await row())!;
  expect(next.toISOString()).toMatch(/:00:00\.000Z$/);
  expect(next.getTime() - Date.now()).toBeGreaterThan(0);
  expect(next.getTime() - Date.now()).toBeLessThanOrEqual(3_600_000);
  expect(await queue.claim(1)).toEqual([]);
});

test('three runners enqueue a due entry once, and missed times once in all', async () => {
  start(hourly);
  start(hourly);
  start(hourly);
  await until(async () => (await row()) !== undefined);
  await queue.db
    .updateTable('timetable')
    .set({ next_run_at: new Date(Date.now() - 5 * 3_600_000) })
    .execute();
  await until(async () => (await row())?.last_run_at !== null);
  await Promise.all(timetables.map((timetable) => timetable.stop()));
  // Claimed before it is counted, so that the dedupe key cannot hide a second one.
  expect(await queue.claim(10)).toMatchObject([{ kind: 'note', payload: { n: 1 } }]);
  expect((await row())!.next_run_at.getTime()).toBeGreaterThan(Date.now());
  expect(queue.lines.filter((line) => line['entry'] === 'hourly')).toHaveLength(1);
});

test('a run that still waits is not joined by another', async () => {
  start(hourly);
  for (let time = 0; time < 2; time += 1) {
    await until(async () => (await row()) !== undefined);
    await queue.db
      .updateTable('timetable')
      .set({ next_run_at: new Date(0), last_run_at: null })
      .execute();
    await until(async () => (await row())?.last_run_at !== null);
  }
  expect(await queue.claim(10)).toHaveLength(1);
});

test('a changed cron line counts from now', async () => {
  start(hourly);
  await until(async () => (await row()) !== undefined);
  start({ ...hourly, cron: '30 12 * * *' });
  await until(async () => (await row())?.cron === '30 12 * * *');
  expect((await row())!.next_run_at.toISOString()).toMatch(/T12:30:00\.000Z$/);
});

test('a line that cannot be read, or is never due, is refused before anything starts', () => {
  const make = (...entries: TimetableEntry[]) => createTimetable({ db: queue.db, entries, log: queue.log });
  expect(() => make({ ...hourly, cron: 'often' })).toThrow();
  expect(() => make({ ...hourly, cron: '0 0 31 2 *' })).toThrow('never due');
  expect(() => make(hourly, hourly)).toThrow('the same name');
});
