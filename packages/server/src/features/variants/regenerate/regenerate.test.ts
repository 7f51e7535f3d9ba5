import { createHash } from 'node:crypto';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../../test/api.js';
import {
  derivable,
  openScene,
  openVariants,
  runJob,
  workOff,
  type Scene,
  type SceneFile,
  type SceneProject,
} from '../../../../test/content-scene.js';
import { decoderEntry } from '../../../../test/fixtures/imaging.js';
import { photo } from '../../../../test/fixtures/pictures.js';
import type { Imaging } from '../../../foundation/imaging/imaging.js';
import { createImaging } from '../../../foundation/imaging/pool.js';
import { newId } from '../../../foundation/ids.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { collectVariants } from '../collect.js';
import { planVariants } from '../plan.js';
import type { VariantRequests, VariantsWork } from '../variants.js';
import type { Selection } from './choose.js';
import { regenerateVariants } from './job.js';
import { planAnew } from './plan-anew.js';
import { findRegeneration, insertRegeneration } from './queries.js';
import { regenerationRoutes } from './routes.js';
import { settingsChanged, VariantChangesSchema } from './settings-change.js';

let scene: Scene;
let engine: Imaging;
let room: VariantRequests & VariantsWork;
let picture: Buffer;
let renders = 0;

beforeAll(async () => {
  scene = await openScene();
  const childEntry = await decoderEntry();
  const { log } = scene;
  engine = createImaging({ log, size: 1, memoryLimitBytes: 1024 ** 3, wallClockMs: 30_000, childEntry });
  const imaging: Imaging = {
    ...engine,
    render: (request) => {
      renders += 1;
      return engine.render(request);
    },
  };
  room = openVariants(scene, { imaging });
  picture = await photo({ width: 80, height: 60 });
});
afterAll(async () => {
  await engine.close();
  await scene.close();
});
beforeEach(() => {
  renders = 0;
});

async function upload(project: SceneProject, bytes = picture): Promise<SceneFile> {
  const file = await scene.file(project, {
    bytes,
    mimeType: 'image/jpeg',
    extension: 'jpg',
    status: 'processing',
  });
  await scene.db.transaction().execute((tx) => planVariants(tx, derivable(file), project.settings));
  return file;
}

const rowsOf = async (file: SceneFile) => {
  const rows = await scene.db.selectFrom('variants').selectAll().where('file_id', '=', file.id).execute();
  return Object.fromEntries(rows.map((row) => [row.name, row]));
};
const statusOf = async (file: SceneFile) => {
  const row = await scene.db
    .selectFrom('files')
    .select('status')
    .where('id', '=', file.id)
    .executeTakeFirstOrThrow();
  return row.status;
};
const buriedOf = async (project: SceneProject) => {
  const rows = await scene.db
    .selectFrom('tombstones')
    .select('key')
    .where('project_id', '=', project.id)
    .execute();
  return rows.map(({ key }) => key).sort();
};

/** Orders a regeneration, as the route does. */
async function order(
  project: SceneProject,
  which: Selection,
  more: { names?: string[]; fileIds?: string[] } = {},
) {
  const id = newId();
  await scene.db.transaction().execute(async (tx) => {
    await insertRegeneration(tx, { id, projectId: project.id, which, reason: 'request', ...more });
    await enqueue(tx, regenerateVariants, { regenerationId: id }, { projectId: project.id });
  });
  return () => findRegeneration(scene.db, project.id, id);
}

const two = { variants: { thumb: { width: 20 }, wide: { width: 40 } } };

describe('a regeneration', () => {
  it('of all makes every variant anew from one decode a file, and buries what was there', async () => {
    const project = await scene.project(two);
    const files = [await upload(project), await upload(project), await upload(project)];
    await workOff(scene, room, project);
    const before = await rowsOf(files[0]!);
    const walk = await order(project, 'all');
    renders = 0;
    await workOff(scene, room, project);
    expect(renders).toBe(3);
    expect(await walk()).toMatchObject({
      status: 'completed',
      files_total: 3,
      files_seen: 3,
      variants_planned: 6,
      jobs_open: 0,
    });
    const after = await rowsOf(files[0]!);
    expect(after['thumb']).toMatchObject({
      status: 'ready',
      generation: 2,
      recipe_digest: before['thumb']!.recipe_digest,
    });
    expect(await buriedOf(project)).toHaveLength(6);
    expect(await statusOf(files[0]!)).toBe('ready');
  });

  it('keeps what is there ready and served until its successor is', async () => {
    const project = await scene.project(two);
    const file = await upload(project);
    await workOff(scene, room, project);
    const before = await rowsOf(file);
    await scene.db.transaction().execute((tx) =>
      planAnew(tx, { projectId: project.id, fileId: file.id }, project.settings, {
        which: 'all',
        lane: 'background',
      }),
    );
    const meanwhile = await rowsOf(file);
    expect(meanwhile['thumb']).toMatchObject({ status: 'ready', s3_key: before['thumb']!.s3_key });
    expect(await statusOf(file)).toBe('ready');
    expect(await buriedOf(project)).toEqual([]);
    await workOff(scene, room, project);
    expect(await buriedOf(project)).toEqual([before['thumb']!.s3_key, before['wide']!.s3_key].sort());
  });

  it('of what is missing, of failed ones, of some names and some files does just that', async () => {
    const before = await scene.project({ variants: { thumb: { width: 20 } } });
    const [one, other] = [await upload(before), await upload(before)];
    const broken = await upload(before, picture.subarray(0, 500));
    await workOff(scene, room, before);
    expect(await statusOf(broken)).toBe('failed');
    const project = await scene.changeSettings(before, two);

    renders = 0;
    await order(project, 'missing', { fileIds: [one.id] });
    await workOff(scene, room, project);
    expect(Object.keys(await rowsOf(one))).toEqual(['thumb', 'wide']);
    expect(Object.keys(await rowsOf(other))).toEqual(['thumb']);
    expect(renders).toBe(1);

    // What failed for a reason that has passed.
    await scene.blobs.delete(broken.key);
    await scene.blobs.put(broken.key, picture, { size: picture.length });
    await scene.db
      .updateTable('files')
      .set({ size: picture.length, sha256: createHash('sha256').update(picture).digest() })
      .where('id', '=', broken.id)
      .execute();
    renders = 0;
    await order(project, 'failed');
    await workOff(scene, room, project);
    expect(renders).toBe(1);
    expect((await rowsOf(broken))['thumb']).toMatchObject({ status: 'ready' });
    expect(await statusOf(broken)).toBe('ready');

    renders = 0;
    await order(project, 'all', { names: ['wide'] });
    await workOff(scene, room, project);
    expect((await rowsOf(one))['thumb']).toMatchObject({ generation: 1 });
    expect((await rowsOf(one))['wide']).toMatchObject({ generation: 2 });
    // The others never had it: it is made where it is missing too.
    expect((await rowsOf(other))['wide']).toMatchObject({ status: 'ready', generation: 1 });
    expect(renders).toBe(3);
  });

  it('leaves lazy ones unmade, files in the trash alone, and what is no picture', async () => {
    const project = await scene.project({
      variants: { thumb: { width: 20 }, rare: { width: 30, lazy: true } },
    });
    const file = await upload(project);
    const gone = await upload(project);
    const text = await scene.file(project, { bytes: Buffer.from('text'), mimeType: 'text/plain' });
    await workOff(scene, room, project);
    await scene.db.updateTable('files').set({ deleted_at: new Date() }).where('id', '=', gone.id).execute();
    const walk = await order(project, 'all');
    await workOff(scene, room, project);
    expect(await walk()).toMatchObject({ status: 'completed', files_total: 2, variants_planned: 1 });
    expect((await rowsOf(file))['rare']).toMatchObject({ status: 'pending', generation: 0 });
    expect((await rowsOf(gone))['thumb']).toMatchObject({ generation: 1 });
    expect(await rowsOf(text)).toEqual({});
  });

  it('that fails leaves the old picture, says so, and is not tried by every request', async () => {
    const before = await scene.project({ variants: { thumb: { width: 20 } } });
    const file = await upload(before);
    await workOff(scene, room, before);
    const settings = { thumb: { width: 20, watermark: { fileId: newId() } } };
    const project = await scene.changeSettings(before, { variants: settings });
    await order(project, 'stale');
    await workOff(scene, room, project);
    const { thumb } = await rowsOf(file);
    expect(thumb).toMatchObject({ status: 'ready', failure_code: 'watermark-unusable', generation: 2 });
    expect(thumb!.refused_digest).toBe(thumb!.wanted_digest);
    renders = 0;
    await room.request(derivable(file), 'thumb', {
      name: 'thumb',
      recipe: settings.thumb as never,
      digest: thumb!.wanted_digest!,
      lazy: false,
    });
    await workOff(scene, room, project);
    expect(renders).toBe(0);
  });

  it('is overtaken by a later change: the job for the earlier recipe makes nothing', async () => {
    const first = await scene.project({ variants: { thumb: { width: 20 } } });
    const file = await upload(first);
    await workOff(scene, room, first);
    const plan = (project: SceneProject) =>
      scene.db.transaction().execute((tx) =>
        planAnew(tx, { projectId: project.id, fileId: file.id }, project.settings, {
          which: 'stale',
          lane: 'normal',
        }),
      );
    const second = await scene.changeSettings(first, { variants: { thumb: { width: 21 } } });
    await plan(second);
    const third = await scene.changeSettings(first, { variants: { thumb: { width: 22 } } });
    await plan(third);
    renders = 0;
    await workOff(scene, room, third);
    expect(renders).toBe(1);
    expect((await rowsOf(file))['thumb']).toMatchObject({ width: 22, generation: 2 });
  });

  it('waits while too many of its renders wait, and goes on from where it was', async () => {
    const project = await scene.project(two);
    const files = [];
    for (let n = 0; n < 120; n++) {
      files.push(
        await scene.file(project, { bytes: Buffer.from(`no picture ${n}`), mimeType: 'image/jpeg' }),
      );
    }
    const walk = await order(project, 'missing');
    const steps: number[] = [];
    const handler = room.handlers.find(({ kind }) => kind === regenerateVariants)!;
    for (let n = 0; n < 6; n++) {
      const { id } = (await walk())!;
      await scene.db.deleteFrom('waiting_jobs').where('kind', '=', regenerateVariants.name).execute();
      await runJob(scene, handler, { projectId: project.id, payload: { regenerationId: id } });
      steps.push((await walk())!.files_seen);
    }
    // 50 files a step, and the end is only said when nothing waits any more.
    expect(steps).toEqual([50, 100, 120, 120, 120, 120]);
    expect(await walk()).toMatchObject({ status: 'running', jobs_open: 120, variants_planned: 240 });
    await scene.db.deleteFrom('waiting_jobs').where('kind', '=', 'render-variants').execute();
    await workOff(scene, room, project);
    expect(await walk()).toMatchObject({ status: 'completed' });
    expect(files).toHaveLength(120);
  });
});

describe('a focal point', () => {
  it('that is set has the variants made anew that follow it', async () => {
    const project = await scene.project({
      variants: {
        face: { width: 20, height: 20, fit: 'cover', position: 'focal' },
        whole: { width: 40 },
      },
    });
    const file = await upload(project);
    await workOff(scene, room, project);
    await scene.db.updateTable('files').set({ focal_x: 0, focal_y: 0.5 }).where('id', '=', file.id).execute();
    await scene.db.transaction().execute((tx) =>
      planAnew(tx, { projectId: project.id, fileId: file.id }, project.settings, {
        which: 'stale',
        lane: 'normal',
      }),
    );
    await workOff(scene, room, project);
    const { face, whole } = await rowsOf(file);
    expect([face!.generation, whole!.generation]).toEqual([2, 1]);
  });
});

describe('a change of the settings', () => {
  let api: TestApi;
  let owner: Member;

  beforeAll(async () => {
    api = await createTestApi({
      projects: {
        onSettingsChanged: (tx, { id, settings }, before) =>
          settingsChanged(tx, id, before.settings, settings),
        settingsChangesSchema: VariantChangesSchema,
      },
      routes: (db) => [regenerationRoutes({ db, publicUrl: 'https://media.example' })],
    });
    owner = await api.register();
  });
  afterAll(() => api.close());
  const call = (method: string, path: string, body?: unknown) =>
    api.call(method, path, { token: owner.token, ...(body === undefined ? {} : { body }) });

  it('says what it means for the variants, and begins to make them anew', async () => {
    const id = await api.createProject(owner, {
      variants: { a: { width: 1 }, b: { width: 2 }, c: { width: 3 } },
    });
    const changed = await call('PUT', `/projects/${id}`, {
      settings: { variants: { a: { width: 1, lazy: true }, b: { width: 5 }, d: { width: 4 } } },
    });
    expect(changed.status).toBe(200);
    const { variantChanges } = changed.body;
    expect(variantChanges).toEqual({
      added: ['d'],
      changed: ['b'],
      removed: ['c'],
      stalePictures: 0,
      regenerationId: expect.any(String),
    });
    const path = `/projects/${id}/regenerations`;
    expect((await call('GET', `${path}/${variantChanges.regenerationId}`)).body).toMatchObject({
      which: 'stale',
      variants: ['b'],
      reason: 'settings',
      status: 'running',
      filesTotal: null,
    });
    // The next change takes over what the first has not done.
    const again = await call('PUT', `/projects/${id}`, {
      settings: { variants: { a: { width: 9 }, b: { width: 5 }, c: { width: 3 } } },
    });
    expect(again.body.variantChanges).toMatchObject({ added: ['c'], changed: ['a'], removed: ['d'] });
    expect((await call('GET', path)).body.data).toMatchObject([
      { status: 'running', variants: ['a', 'b'] },
      { status: 'cancelled' },
    ]);
    const removed = await api.database.db
      .selectFrom('removed_variants')
      .select('name')
      .where('project_id', '=', id)
      .execute();
    expect(removed).toEqual([{ name: 'd' }]);
  });

  it('of anything else means nothing', async () => {
    const id = await api.createProject(owner);
    const changed = await call('PUT', `/projects/${id}`, { settings: { visibility: 'public' } });
    expect(changed.body.variantChanges).toEqual({
      added: [],
      changed: [],
      removed: [],
      stalePictures: 0,
      regenerationId: null,
    });
    const renamed = await call('PUT', `/projects/${id}`, { name: 'other' });
    expect(renamed.body.variantChanges).toBeUndefined();
  });

  it('can be followed by an order, which names only what there is, and can be ended', async () => {
    const id = await api.createProject(owner);
    const path = `/projects/${id}/variants/regenerate`;
    expect(await call('POST', path, { variants: ['thumbnail', 'nope'] })).toMatchObject({
      status: 404,
      body: { code: 'unknown-variant', errors: [{ pointer: '/variants/1' }] },
    });
    expect((await call('POST', path, { which: 'some' })).status).toBe(400);
    const ordered = await call('POST', path, { which: 'failed', variants: ['thumbnail'] });
    expect(ordered.status).toBe(202);
    expect(ordered.body).toMatchObject({ which: 'failed', variants: ['thumbnail'], reason: 'request' });
    const one = `/projects/${id}/regenerations/${ordered.body.id}`;
    expect(ordered.headers['location']).toBe(`https://media.example${one}`);
    expect((await call('DELETE', one)).body).toMatchObject({ status: 'cancelled' });
    expect((await call('DELETE', one)).body).toMatchObject({ status: 'cancelled' });
    expect((await call('DELETE', `/projects/${id}/regenerations/${newId()}`)).status).toBe(404);
    for (let n = 0; n < 10; n++) expect((await call('POST', path, {})).status).toBe(202);
    expect(await call('POST', path, {})).toMatchObject({ status: 429, body: { limit: 10 } });
  });
});

describe('variants of a name that the settings no longer say', () => {
  it('go after the grace period, unless the name is back, and no key is used twice', async () => {
    const before = await scene.project(two);
    const file = await upload(before);
    await workOff(scene, room, before);
    const { wide } = await rowsOf(file);
    const change = async (from: SceneProject, patch: object) => {
      const to = await scene.changeSettings(from, patch);
      await scene.db.transaction().execute((tx) => settingsChanged(tx, from.id, from.settings, to.settings));
      return to;
    };
    const collect = room.handlers.find(({ kind }) => kind === collectVariants)!;
    const run = () => runJob(scene, collect, { projectId: before.id, payload: {} });

    const without = await change(before, { variants: { thumb: { width: 20 } } });
    const back = await change(without, two);
    await run();
    expect(Object.keys(await rowsOf(file))).toEqual(['thumb', 'wide']);
    const again = await change(back, { variants: { thumb: { width: 20 } } });
    await run();
    expect(Object.keys(await rowsOf(file))).toEqual(['thumb']);
    expect(await buriedOf(before)).toEqual([wide!.s3_key]);
    expect(
      await scene.db.selectFrom('removed_variants').selectAll().where('project_id', '=', before.id).execute(),
    ).toEqual([]);

    const last = await change(again, two);
    await order(last, 'missing');
    await workOff(scene, room, last);
    expect((await rowsOf(file))['wide']!.s3_key).toBe(`${before.id}/wide/${file.id}.2.webp`);
  });
});
