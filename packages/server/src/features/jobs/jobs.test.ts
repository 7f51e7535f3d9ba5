import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../test/api.js';
import { newId } from '../../foundation/ids.js';
import { createMetrics } from '../../foundation/metrics.js';
import { defineJob, type JobHandler } from '../../foundation/queue/define.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import { createLog } from '../../foundation/log.js';
import { bury } from '../files/queries.js';
import { recorded } from '../cleanup/recorded.js';
import { watchWork } from './metrics.js';
import { jobRoutes } from './routes.js';

const greet = defineJob({ name: 'greet', payload: Type.Object({ to: Type.String() }) });

let api: TestApi;
let owner: Member;
let project: string;

beforeAll(async () => {
  api = await createTestApi({ routes: (db) => [jobRoutes({ db })] });
  owner = await api.register();
  project = await api.createProject(owner);
});
afterAll(() => api.close());

const call = (method: string, path: string) => api.call(method, path, { token: owner.token });
const order = (to: string, projectId = project) =>
  api.database.db.transaction().execute((tx) => enqueue(tx, greet, { to }, { projectId }));
const die = (id: string, projectId = project) =>
  api.database.db
    .insertInto('finished_jobs')
    .values({
      id,
      kind: 'greet',
      state: 'dead',
      payload: JSON.stringify({ to: 'x' }),
      project_id: projectId,
      lane: 1,
      attempt: 5,
      error: 'The store could not be used.',
      created_at: new Date(),
    })
    .execute();

describe('the background work of a project', () => {
  it('is listed by state, without what it is about', async () => {
    const other = await api.createProject(owner);
    const ids = [await order('a'), await order('b'), await order('c')];
    await order('elsewhere', other);
    const first = await call('GET', `/projects/${project}/jobs?limit=2`);
    expect(first.ids).toEqual([ids[2], ids[1]]);
    expect(first.body.data[0]).toEqual({
      id: ids[2],
      kind: 'greet',
      state: 'waiting',
      lane: 'normal',
      attempt: 0,
      maxAttempts: 5,
      error: null,
      createdAt: expect.any(String),
      since: expect.any(String),
    });
    const next = await call('GET', `/projects/${project}/jobs?limit=2&cursor=${first.body.nextCursor}`);
    expect(next.ids).toEqual([ids[0]]);
    expect((await call('GET', `/projects/${project}/jobs?state=running`)).ids).toEqual([]);
    expect((await call('GET', `/projects/${project}/jobs?state=done`)).status).toBe(400);
  });

  it('can be tried again when it was given up, and cancelled while it waits; that of others cannot', async () => {
    const mine = await api.createProject(owner);
    const [dead, foreign] = [newId(), newId()];
    await die(dead, mine);
    await die(foreign);
    const list = (state: string) => call('GET', `/projects/${mine}/jobs?state=${state}`);
    expect((await list('dead')).body.data).toMatchObject([
      { id: dead, state: 'dead', attempt: 5, error: 'The store could not be used.' },
    ]);
    expect((await call('POST', `/projects/${mine}/jobs/${foreign}/retry`)).status).toBe(404);
    expect((await call('POST', `/projects/${mine}/jobs/${dead}/retry`)).status).toBe(204);
    expect((await call('POST', `/projects/${mine}/jobs/${dead}/retry`)).status).toBe(404);
    expect([(await list('dead')).ids, (await list('waiting')).ids]).toEqual([[], [dead]]);
    expect((await call('DELETE', `/projects/${project}/jobs/${dead}`)).status).toBe(404);
    expect((await call('DELETE', `/projects/${mine}/jobs/${dead}`)).status).toBe(204);
    expect((await list('waiting')).ids).toEqual([]);
  });

  it('is counted, with the blobs that are on their way out', async () => {
    const mine = await api.createProject(owner);
    await order('a', mine);
    await die(newId(), mine);
    const keys = ['x', 'y'].map((name) => `${mine}/files/${name}`);
    await api.database.db.transaction().execute((tx) =>
      bury(
        tx,
        keys.map((key) => ({ key, projectId: mine, reason: 'test' })),
      ),
    );
    await api.database.db
      .updateTable('tombstones')
      .set({ last_error: 'AccessDenied' })
      .where('key', '=', keys[1]!)
      .execute();
    expect((await call('GET', `/projects/${mine}/jobs/summary`)).body).toEqual({
      jobs: [
        { kind: 'greet', state: 'dead', count: 1 },
        { kind: 'greet', state: 'waiting', count: 1 },
      ],
      blobDeletions: { waiting: 2, failing: 1, oldestAt: expect.any(String), lastError: 'AccessDenied' },
    });
  });
});

describe('what whoever is on call watches', () => {
  const lines = async (metrics: ReturnType<typeof createMetrics>, name: string) =>
    (await metrics.registry.metrics())
      .split('\n')
      .filter((line) => line.startsWith(`mediablobkit_${name}`))
      .sort();

  async function runOnce(handler: JobHandler): Promise<void> {
    await handler.run({
      id: newId(),
      payload: { to: '' },
      projectId: null,
      attempt: 1,
      lastAttempt: false,
      signal: new AbortController().signal,
      log: await createLog({ level: 'silent', pretty: false }),
      finish: () => Promise.reject(new Error('unused')),
    });
  }

  it('tells what the timetable did, added up, and that it failed', async () => {
    const { db } = api.database;
    const metrics = createMetrics();
    watchWork({ db, metrics });
    const sweep = defineJob({ name: 'test-sweep', payload: greet.payload });
    for (const amount of [3, 4]) {
      await runOnce(
        recorded({ db }, sweep, (_context, count) => {
          count('files', amount);
          count('nothing', 0);
          return Promise.resolve();
        }),
      );
    }
    const failing = recorded({ db }, sweep, () => Promise.reject(new Error('the disk is gone\nand more')));
    await expect(runOnce(failing)).rejects.toThrow('the disk is gone');
    expect(await lines(metrics, 'cleanup_items')).toEqual([
      'mediablobkit_cleanup_items{what="test-sweep",item="files"} 7',
    ]);
    expect(await lines(metrics, 'cleanup_runs')).toEqual(['mediablobkit_cleanup_runs{what="test-sweep"} 3']);
    expect(await lines(metrics, 'cleanup_failures')).toEqual([
      'mediablobkit_cleanup_failures{what="test-sweep"} 1',
    ]);
    const { last_error: error } = await db
      .selectFrom('cleanup_runs')
      .select('last_error')
      .where('name', '=', 'test-sweep')
      .executeTakeFirstOrThrow();
    expect(error).toBe('the disk is gone');
    expect(await lines(metrics, 'jobs{')).toContain('mediablobkit_jobs{kind="greet",state="waiting"} 5');
    expect(await lines(metrics, 'blob_deletions')).toContain(
      'mediablobkit_blob_deletions{state="failing"} 1',
    );
  });

  it('leaves out what cannot be looked up, and says so', async () => {
    const metrics = createMetrics();
    metrics.gauge('broken', 'Never there.', ['what'], () => Promise.reject(new Error('gone')));
    metrics.gauge('whole', 'Always there.', [], () => Promise.resolve([{ labels: {}, value: 1 }]));
    await metrics.registry.metrics();
    expect(await lines(metrics, 'broken')).toEqual([]);
    expect(await lines(metrics, 'whole')).toEqual(['mediablobkit_whole 1']);
    // One for each look so far, told at the next one.
    expect(await lines(metrics, 'collect_failures')).toEqual([
      'mediablobkit_collect_failures_total{metric="broken"} 3',
    ]);
  });
});
