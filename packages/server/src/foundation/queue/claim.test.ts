import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';

import { newId } from '../ids.js';
import { LeaseLost } from './define.js';
import { complete } from './finish.js';
import { release, releaseExpired, retryLater } from './give-back.js';
import { heldKey, renewLeases } from './heartbeat.js';
import { note, openQueue, type TestQueue } from './queue.suite.js';
import { claimExpiredLast } from './takeover.js';

let queue: TestQueue;
beforeAll(async () => {
  queue = await openQueue();
});
afterEach(() => queue.clear());
afterAll(() => queue.close());

const numbers = (count: number) => Array.from({ length: count }, (_, n) => ({ payload: { n } }));

test('thirty claims at once never get the same job, and miss none', async () => {
  await queue.addMany(note, numbers(100));
  const batches = await Promise.all(Array.from({ length: 30 }, () => queue.claim(4)));
  const ids = batches.flat().map((job) => job.id);
  expect(new Set(ids).size).toBe(100);
  expect(ids).toHaveLength(100);
});

test('urgent lanes come first, whatever came first', async () => {
  await queue.add(note, { n: 3 }, { lane: 'background' });
  await queue.add(note, { n: 2 });
  await queue.add(note, { n: 1 }, { lane: 'interactive' });
  expect((await queue.claim(3)).map((job) => job.payload)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
});

test('jobs of kinds that nobody here knows stay where they are', async () => {
  const id = await queue.add(note, { n: 1 });
  expect(await queue.claim(10, ['other'])).toEqual([]);
  expect(await queue.job(id)).toMatchObject({ place: 'waiting', attempt: 0 });
});

test('a project with 5,000 jobs delays the one job of another by no more than two', async () => {
  const [flood, single] = [newId(), newId()];
  await queue.addMany(
    note,
    numbers(5_000).map((item) => ({ ...item, projectId: flood })),
  );
  await queue.claim(1_000);
  const id = await queue.add(note, { n: 1 }, { projectId: single });
  const next = await queue.claim(100);
  expect(next.findIndex((job) => job.id === id)).toBeLessThanOrEqual(2);
  expect(next.findIndex((job) => job.id === id)).toBeGreaterThanOrEqual(0);
});

test('two floods share evenly, and the earlier one is not starved for what it had before', async () => {
  const [early, late] = [newId(), newId()];
  await queue.addMany(
    note,
    numbers(600).map((item) => ({ ...item, projectId: early })),
  );
  await queue.claim(300);
  await queue.addMany(
    note,
    numbers(600).map((item) => ({ ...item, projectId: late })),
  );
  const next = await queue.claim(200);
  const share = next.filter((job) => job.projectId === early).length;
  expect(share).toBeGreaterThanOrEqual(95);
  expect(share).toBeLessThanOrEqual(105);
});

test('jobs enqueued at the same instant keep other projects waiting only as many as they are', async () => {
  const [flood, single] = [newId(), newId()];
  await Promise.all(Array.from({ length: 200 }, (_, n) => queue.add(note, { n }, { projectId: flood })));
  const id = await queue.add(note, { n: 1 }, { projectId: single });
  const next = await queue.claim(200);
  // Twenty connections: at most twenty share a turn.
  expect(next.findIndex((job) => job.id === id)).toBeLessThanOrEqual(20);
});

test('a job given back does not move the present turn into the past', async () => {
  const [flood, late] = [newId(), newId()];
  await queue.addMany(
    note,
    numbers(300).map((item) => ({ ...item, projectId: flood })),
  );
  const [first] = await queue.claim(200);
  await release(queue.db, first!);
  await queue.addMany(
    note,
    numbers(100).map((item) => ({ ...item, projectId: late })),
  );
  const next = await queue.claim(50);
  expect(next.filter((job) => job.projectId === flood).length).toBeGreaterThanOrEqual(24);
});

test('only who holds the lease may renew, finish or fail a job', async () => {
  const id = await queue.add(note, { n: 1 });
  const [paused] = await queue.claim(1);
  await queue.expireLeases();
  expect(await releaseExpired(queue.db, ['other'])).toEqual(new Map());
  expect(await releaseExpired(queue.db, ['note'])).toEqual(new Map([[id, 'waiting']]));
  const [taker] = await queue.claim(1);
  expect(taker).toMatchObject({ id, attempt: 2 });

  expect(await renewLeases(queue.db, [paused!, taker!], 30)).toEqual(
    new Map([[heldKey(taker!), { cancelled: false }]]),
  );
  expect(await queue.finish([paused!])).toEqual(new Set());
  expect(await retryLater(queue.db, paused!, { delaySeconds: 0, error: '' })).toBeUndefined();
  expect(await release(queue.db, paused!)).toBeUndefined();
  const late = queue.db.transaction().execute((tx) => complete(tx, paused!));
  await expect(late).rejects.toThrow(LeaseLost);

  expect(await queue.job(id)).toMatchObject({ place: 'running', attempt: 2 });
  expect(await queue.finish([taker!])).toEqual(new Set([id]));
  expect(await queue.job(id)).toMatchObject({ place: 'done', attempt: 2 });
});

test('a lease that was renewed in time is not taken over', async () => {
  await queue.add(note, { n: 1 });
  const held = await queue.claim(1);
  await queue.expireLeases();
  await renewLeases(queue.db, held, 30);
  expect(await releaseExpired(queue.db, ['note'])).toEqual(new Map());
});

test('a holder that fell silent in its last attempt is not followed by another', async () => {
  const id = await queue.add(note, { n: 1 });
  for (let attempt = 1; attempt <= note.attempts; attempt += 1) {
    expect(await queue.claim(1)).toHaveLength(1);
    await queue.expireLeases();
    expect((await releaseExpired(queue.db, ['note'])).size).toBe(attempt < note.attempts ? 1 : 0);
  }
  const token = newId();
  const taken = await claimExpiredLast(queue.db, {
    kinds: ['note'],
    token,
    holder: 'taker',
    leaseSeconds: 30,
  });
  expect(taken).toMatchObject([{ id, token, attempt: 3, formerHolder: 'test' }]);
});

test('giving a job back costs no attempt, but attempts keep their own numbers', async () => {
  const id = await queue.add(note, { n: 1 });
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    const [held] = await queue.claim(1);
    expect(held).toMatchObject({ id, attempt, maxAttempts: note.attempts + attempt - 1 });
    expect(await release(queue.db, held!)).toBe('waiting');
  }
});

test('the claim reads no more of 50,000 waiting jobs than it takes', async () => {
  const projects = Array.from({ length: 20 }, () => newId());
  for (let batch = 0; batch < 10; batch += 1) {
    await queue.addMany(
      note,
      numbers(5_000).map((item, n) => ({ ...item, projectId: projects[n % 20] })),
    );
  }
  const { rows } = await sql<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>`
    EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
    DELETE FROM waiting_jobs WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM waiting_jobs
      WHERE turn IS NOT NULL AND kind = ANY (ARRAY(SELECT unnest(${['note', 'gone']}::text[])))
      ORDER BY lane, turn LIMIT 10 FOR UPDATE SKIP LOCKED
    ))
  `.execute(queue.db);
  const nodes = flatten(rows[0]!['QUERY PLAN'][0].Plan);
  expect(nodes.map((node) => node['Node Type'])).toEqual(
    expect.arrayContaining(['Tid Scan', 'Index Scan', 'Limit']),
  );
  expect(nodes.find((node) => node['Node Type'] === 'Index Scan')).toMatchObject({
    'Index Name': 'waiting_jobs_claim',
    'Actual Rows': 10,
  });
  expect(nodes.map((node) => node['Node Type'])).not.toContain('Seq Scan');
  expect(nodes.map((node) => node['Node Type'])).not.toContain('Sort');
  expect(nodes[0]!['Shared Hit Blocks'] + nodes[0]!['Shared Read Blocks']).toBeLessThan(150);
});

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Shared Hit Blocks': number;
  readonly 'Shared Read Blocks': number;
  readonly Plans?: PlanNode[];
}

function flatten(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flatten)];
}
