import type { Socket } from 'node:net';

import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createTestApi } from '../../../../test/api.js';
import { noise } from '../../../../test/fixtures/noise.js';
import { answerOf, startOddSource, wholeAnswer, type OddSource } from '../../../../test/odd-source.js';
import { nothing } from '../../../../test/upload-kit.js';
import { newId } from '../../../foundation/ids.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { inTransaction } from '../../projects/queries.js';
import { createImportScene, type ImportScene } from './import.suite.js';
import { importRoutes } from './routes.js';
import { failImportsOfProject } from './queries.js';
import { importFileJob, tidyImportsJob } from './job.js';

let scene: ImportScene;
let source: OddSource;
let held: Socket[] = [];
const bytes = noise(300_000);

beforeEach(async () => {
  scene = await createImportScene();
  held = [];
  // The first answer stops in its middle, the later ones are whole.
  source = await startOddSource((socket, _head, number) => {
    socket.write(answerOf(200, [`Content-Length: ${bytes.length}`]));
    socket.write(number === 1 ? bytes.subarray(0, 200_000) : bytes);
    held.push(socket);
  });
});
afterEach(async () => {
  await scene.close();
  await source.close();
});

const state = async (id: string) =>
  scene.db.selectFrom('imports').selectAll().where('id', '=', id).executeTakeFirst();
const running = async (id: string) =>
  vi.waitFor(async () => {
    expect(await state(id)).toMatchObject({ status: 'running' });
    expect((await scene.usage(scene.projectId)).reserved).toBe(bytes.length);
  });
/** Those that import; a purge may wait beside them. */
const jobs = async () => {
  const kind = importFileJob.name;
  const waiting = await scene.db.selectFrom('waiting_jobs').selectAll().where('kind', '=', kind).execute();
  const now = await scene.db.selectFrom('running_jobs').selectAll().where('kind', '=', kind).execute();
  return { waiting, running: now };
};

describe('a cancelled import', () => {
  it('that waits never starts', async () => {
    const id = await scene.begin(source);
    expect((await scene.cancel(id)).status).toBe(204);
    expect(await jobs()).toEqual({ waiting: [], running: [] });
    expect((await scene.cancel(id)).status).toBe(404);
    scene.run();
    expect(source.requests).toHaveLength(0);
  });

  it('that runs is broken off and leaves nothing', async () => {
    const id = await scene.begin(source);
    scene.run();
    await running(id);
    expect((await scene.cancel(id)).status).toBe(204);
    await vi.waitFor(() => expect(source.connections()).toBe(0));
    await vi.waitFor(async () => expect(await jobs()).toEqual({ waiting: [], running: [] }));
    expect(await state(id)).toBeUndefined();
    expect(source.requests).toHaveLength(1);
    expect(await scene.leftovers(scene.projectId)).toEqual(nothing);
  });

  it('that ends in the same moment is a file or nothing', async () => {
    for (let round = 0; round < 10; round += 1) {
      const quick = await startOddSource((socket) => void socket.write(wholeAnswer('hello')));
      const runner = scene.run({ pollMs: 5 });
      const id = await scene.begin(quick);
      await new Promise((resolve) => setTimeout(resolve, round * 4));
      const { status } = await scene.cancel(id);
      expect([204, 409]).toContain(status);
      await vi.waitFor(async () => expect(await jobs()).toEqual({ waiting: [], running: [] }));
      await runner.stop();
      const files = await scene.db.selectFrom('files').selectAll().execute();
      expect(files.filter((file) => file.status === 'uploading')).toEqual([]);
      expect(files.length).toBe(status === 204 ? 0 : 1);
      await scene.db.deleteFrom('files').execute();
      await quick.close();
    }
  });

  it('that has ended is a conflict', async () => {
    const quick = await startOddSource((socket) => void socket.write(wholeAnswer('hello')));
    const id = await scene.begin(quick);
    scene.run();
    await scene.ended(id);
    const answer = await scene.cancel(id);
    expect([answer.status, await answer.json()]).toMatchObject([
      409,
      { code: 'conflict', detail: 'The import has completed already.' },
    ]);
    await quick.close();
  });
});

describe('a worker', () => {
  it('that stops gives its import back, which does not count', async () => {
    const id = await scene.begin(source);
    const first = scene.run();
    await running(id);
    await first.stop({ drainMs: 0 });
    expect(await state(id)).toMatchObject({ status: 'waiting', received_bytes: 0, failure_code: null });
    const { waiting } = await jobs();
    expect(waiting).toMatchObject([{ kind: importFileJob.name, attempt: 1, max_attempts: 6 }]);
    expect(await scene.leftovers(scene.projectId)).toEqual(nothing);
    scene.run();
    expect(await scene.ended(id)).toMatchObject({ status: 'completed', file: { size: bytes.length } });
  });

  it('that has lost its lease leaves the import to the next, and its own bytes to nobody', async () => {
    const id = await scene.begin(source);
    scene.run({ leaseSeconds: 0.6 });
    await running(id);
    await scene.db
      .updateTable('running_jobs')
      .set({ token: newId(), lease_until: new Date(0) })
      .execute();
    expect(await scene.ended(id)).toMatchObject({ status: 'completed', file: { size: bytes.length } });
    await vi.waitFor(async () => {
      const { rows, blobs } = await scene.leftovers(scene.projectId);
      expect([rows, blobs.length]).toEqual([1, 1]);
    });
    expect(await scene.usage(scene.projectId)).toMatchObject({ files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('that dies in the last attempt leaves an import that says so', async () => {
    const id = await scene.begin(source);
    const first = scene.run();
    await running(id);
    // As if its process were gone: the job belongs to a holder that does not answer any more.
    await scene.db
      .updateTable('running_jobs')
      .set({ token: newId(), lease_until: new Date(0), attempt: 5 })
      .execute();
    expect(await scene.ended(id)).toMatchObject({
      status: 'failed',
      failure: { code: 'service-unavailable' },
    });
    expect(await state(id)).toMatchObject({ url: null });
    await first.stop({ drainMs: 0 });
  });
});

describe('a project that is deleted', () => {
  it('ends its imports', async () => {
    const id = await scene.begin(source);
    scene.run();
    await running(id);
    await inTransaction(scene.db, (tx) => failImportsOfProject(tx, scene.projectId));
    held[0]?.write(bytes.subarray(200_000));
    await vi.waitFor(async () => expect((await jobs()).running).toEqual([]));
    expect(await scene.see(id)).toMatchObject({
      status: 'failed',
      failure: { code: 'not-found' },
      file: null,
    });
    await vi.waitFor(async () => expect(await scene.leftovers(scene.projectId)).toEqual(nothing));
  });
});

describe('the timetable', () => {
  const tidy = async () => {
    await inTransaction(scene.db, (tx) => enqueue(tx, tidyImportsJob, {}));
    const handlers = scene.work.handlers.filter(({ kind }) => kind.name === tidyImportsJob.name);
    const runner = scene.run({ handlers });
    const waiting = () =>
      scene.db.selectFrom('waiting_jobs').selectAll().where('kind', '=', tidyImportsJob.name).execute();
    await vi.waitFor(async () => expect(await waiting()).toEqual([]));
    await runner.stop();
  };
  const age = (id: string, days: number) =>
    scene.db
      .updateTable('imports')
      .set({ updated_at: new Date(Date.now() - days * 86_400_000) })
      .where('id', '=', id)
      .execute();

  it('forgets imports a week after their end; their files stay', async () => {
    const quick = await startOddSource((socket) => void socket.write(wholeAnswer('hello')));
    const ids = [await scene.begin(quick), await scene.begin(quick), await scene.begin(quick)];
    scene.run();
    for (const id of ids) await scene.ended(id);
    await age(ids[0]!, 8);
    await age(ids[1]!, 6);
    await tidy();
    expect(await Promise.all(ids.map(async (id) => (await state(id)) !== undefined))).toEqual([
      false,
      true,
      true,
    ]);
    expect(await scene.usage(scene.projectId)).toMatchObject({ files: 3 });
    await quick.close();
  });

  it('enqueues an import anew whose job is gone, and none that still has one', async () => {
    const [lost, waits] = [await scene.begin(source), await scene.begin(source)];
    await scene.db.deleteFrom('waiting_jobs').where('dedupe_key', '=', lost).execute();
    await age(lost, 1);
    await age(waits, 1);
    await tidy();
    const keys = (await jobs()).waiting.map((job) => job.dedupe_key);
    expect(keys.toSorted()).toEqual([lost, waits].toSorted());
  });
});

describe('an API key', () => {
  it('that may only upload sees what it has begun itself, and no list', async () => {
    const ground = await createTestApi();
    const { db } = ground.database;
    const api = await createTestApi({
      beside: ground,
      routes: [
        importRoutes({
          db,
          outbound: { checkUrl: () => undefined },
          present: async () => [],
          fileViewSchema: Type.Object({}),
          publicUrl: '',
        }),
      ],
    });
    try {
      const owner = await api.register();
      const project = await api.createProject(owner);
      const [own, other, reader, writer] = await Promise.all(
        [['files:create'], ['files:create'], ['files:read'], ['files:write']].map((scopes) =>
          api.createKey(owner, project, scopes),
        ),
      );
      const order = { token: own!.key, body: { url: 'http://a.test/' } };
      const { body, status } = await api.call('POST', `/projects/${project}/import`, order);
      expect(status).toBe(202);
      const path = `/projects/${project}/imports/${body.id}`;
      const statusOf = async (method: string, at: string, token: string) =>
        (await api.call(method, at, { token })).status;
      const tokens = [own!.key, other!.key, reader!.key, writer!.key, owner.token];
      expect(await Promise.all(tokens.map((token) => statusOf('GET', path, token)))).toEqual([
        200, 404, 200, 200, 200,
      ]);
      const list = `/projects/${project}/imports`;
      expect(await Promise.all(tokens.map((token) => statusOf('GET', list, token)))).toEqual([
        403, 403, 200, 200, 200,
      ]);
      expect(await statusOf('DELETE', path, other!.key)).toBe(404);
      expect(await statusOf('DELETE', path, reader!.key)).toBe(403);
      expect(await statusOf('DELETE', path, own!.key)).toBe(204);
      const refused = await api.call('POST', list.replace('imports', 'import'), {
        token: reader!.key,
        body: order.body,
      });
      expect(refused.status).toBe(403);
    } finally {
      await api.close();
      await ground.close();
    }
  });
});
