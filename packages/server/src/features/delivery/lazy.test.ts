import http from 'node:http';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { rgbaToThumbHash } from 'thumbhash';

import {
  openScene,
  openVariants,
  runJob,
  startServer,
  type Scene,
  type SceneFile,
  type SceneProject,
  type Server,
} from '../../../test/content-scene.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { photo } from '../../../test/fixtures/pictures.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { reviveTimetable } from '../variants/revive.js';
import type { VariantRequests, VariantsWork } from '../variants/variants.js';

let scene: Scene;
let engine: Imaging;
let picture: Buffer;
let room: VariantRequests & VariantsWork;
let server: Server;
let renders = 0;

beforeAll(async () => {
  scene = await openScene();
  engine = createImaging({
    log: scene.log,
    size: 1,
    memoryLimitBytes: 1024 ** 3,
    wallClockMs: 30_000,
    childEntry: await decoderEntry(),
  });
  picture = await photo({ width: 160, height: 120 });
});
afterAll(async () => {
  await engine.close();
  await scene.close();
});
beforeEach(async () => {
  renders = 0;
  room = roomWith(100);
  server = await startServer(scene, { variants: room });
});
afterEach(() => server.close());

function roomWith(maxWaiters: number): VariantRequests & VariantsWork {
  const imaging: Imaging = {
    ...engine,
    render: (request) => {
      renders += 1;
      return engine.render(request);
    },
  };
  return openVariants(scene, { imaging, maxWaiters });
}

const lazy = { thumb: { width: 40, height: 40, fit: 'cover', lazy: true } };
const lazyProject = (delivery: unknown = {}) =>
  scene.project({ visibility: 'public', variants: lazy, delivery });

async function pictureOf(
  project: SceneProject,
  options: { thumbhash?: Buffer; bytes?: Buffer } = {},
): Promise<SceneFile> {
  return scene.file(project, {
    bytes: picture,
    mimeType: 'image/jpeg',
    extension: 'jpg',
    filename: 'a.jpg',
    ...options,
  });
}

const waitingJobs = (project: SceneProject) =>
  scene.db.selectFrom('waiting_jobs').selectAll().where('project_id', '=', project.id).execute();

/** Does the work that waits, as a worker would; a dedupe key is free as soon as its job is taken. */
async function work(project: SceneProject): Promise<number> {
  const jobs = await waitingJobs(project);
  for (const { id, kind, payload } of jobs) {
    await scene.db.deleteFrom('waiting_jobs').where('id', '=', id).execute();
    const handler = room.handlers.find((one) => one.kind.name === kind)!;
    await runJob(scene, handler, { projectId: project.id, payload });
  }
  return jobs.length;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

const rowOf = (file: SceneFile, name = 'thumb') =>
  scene.db
    .selectFrom('variants')
    .selectAll()
    .where('file_id', '=', file.id)
    .where('name', '=', name)
    .executeTakeFirst();

describe('the first request for a lazy variant', () => {
  it('is one render, however many ask at once, and all get the picture', async () => {
    const project = await lazyProject();
    const file = await pictureOf(project);
    const asking = Array.from({ length: 20 }, () =>
      server.fetch(`/files/${file.id}/content?variant=thumb&wait=20`),
    );
    await until(() => room.waits.size === 20);
    expect(await work(project)).toBe(1);
    const answers = await Promise.all(asking);
    const bodies = await Promise.all(answers.map((answer) => answer.arrayBuffer()));
    for (const answer of answers) {
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toBe('image/webp');
      expect(answer.headers.get('x-variant-fallback')).toBeNull();
      expect(answer.headers.get('cache-control')).toBe('public, max-age=3600');
    }
    expect(new Set(bodies.map((body) => Buffer.from(body).toString('base64'))).size).toBe(1);
    expect(renders).toBe(1);
    expect(await waitingJobs(project)).toEqual([]);
  });

  it('from two processes is one render too', async () => {
    const project = await lazyProject();
    const file = await pictureOf(project);
    const otherRoom = roomWith(100);
    const other = await startServer(scene, { variants: otherRoom });
    try {
      const asking = [server, other].map((one) =>
        one.fetch(`/files/${file.id}/content?variant=thumb&wait=20`),
      );
      await until(() => room.waits.size + otherRoom.waits.size === 2);
      expect(await work(project)).toBe(1);
      for (const answer of await Promise.all(asking)) {
        expect(answer.headers.get('content-type')).toBe('image/webp');
        await answer.arrayBuffer();
      }
      expect(renders).toBe(1);
    } finally {
      await other.close();
    }
  });

  it.each([
    ['the project wants', 'original', ''],
    ['the request wants', 'none', '&fallback=original'],
  ])('answers with the original when %s it, and says so', async (_who, setting, query) => {
    const project = await lazyProject({ fallback: setting });
    const file = await pictureOf(project);
    const headers = { range: 'bytes=0-9', 'if-none-match': '*' };
    const answer = await server.fetch(`/files/${file.id}/content?variant=thumb${query}`, { headers });
    expect(answer.status).toBe(200);
    expect(Buffer.from(await answer.arrayBuffer()).equals(picture)).toBe(true);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'cache-control': 'no-store',
      'x-variant-fallback': 'original',
      'content-type': 'image/jpeg',
      'x-content-type-options': 'nosniff',
    });
    expect(answer.headers.get('etag')).toBeNull();
    expect(answer.headers.get('last-modified')).toBeNull();
  });

  it('answers with a placeholder of the right shape when that is wanted', async () => {
    const project = await lazyProject({ fallback: 'placeholder' });
    const rgba = Uint8Array.from({ length: 60 * 30 * 4 }, (_, at) => (at % 4 === 3 ? 255 : at % 200));
    const known = await pictureOf(project, { thumbhash: Buffer.from(rgbaToThumbHash(60, 30, rgba)) });
    const unknown = await pictureOf(project);
    const sizes = [];
    for (const file of [known, unknown]) {
      const answer = await server.fetch(`/files/${file.id}/content?variant=thumb`);
      const body = Buffer.from(await answer.arrayBuffer());
      expect(answer.status).toBe(200);
      expect(Object.fromEntries(answer.headers)).toMatchObject({
        'cache-control': 'no-store',
        'x-variant-fallback': 'placeholder',
        'content-type': 'image/png',
        'content-length': String(body.length),
      });
      sizes.push([body.readUInt32BE(16), body.readUInt32BE(20)]);
      const head = await server.fetch(`/files/${file.id}/content?variant=thumb`, { method: 'HEAD' });
      expect([head.status, head.headers.get('content-length')]).toEqual([200, String(body.length)]);
    }
    expect(sizes[0]![0]).toBeGreaterThan(sizes[0]![1]!);
    expect(sizes[1]).toEqual([1, 1]);
  });

  it('answers 404 with the time to come back when no fallback is wanted', async () => {
    const project = await lazyProject();
    const file = await pictureOf(project);
    const answer = await server.fetch(`/files/${file.id}/content?variant=thumb&fallback=none`);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.json()).toMatchObject({ code: 'variant-not-ready' });
    await work(project);
    const later = await server.fetch(`/files/${file.id}/content?variant=thumb&fallback=none`);
    expect([later.status, later.headers.get('content-type')]).toEqual([200, 'image/webp']);
    await later.arrayBuffer();
  });

  it('never shows the original to somebody who has only a link for the variant', async () => {
    const project = await scene.project({ variants: lazy, delivery: { fallback: 'original' } });
    const file = await pictureOf(project);
    const answer = await server.fetch(server.links.urlFor({ fileId: file.id, variant: 'thumb' }));
    expect(answer.headers.get('x-variant-fallback')).toBe('placeholder');
    expect(answer.headers.get('content-type')).toBe('image/png');
    await answer.arrayBuffer();
  });

  it('is not asked of a file that is no picture', async () => {
    const project = await lazyProject();
    const file = await scene.file(project, { bytes: Buffer.from('text'), mimeType: 'text/plain' });
    const answer = await server.fetch(`/files/${file.id}/content?variant=thumb`);
    expect(await answer.json()).toMatchObject({ status: 404, code: 'variant-failed' });
    expect(await waitingJobs(project)).toEqual([]);
  });
});

describe('a request that waits', () => {
  it('gets the fallback when its time is up', async () => {
    const quick = await startServer(scene, { variants: room, maxWaitSeconds: 0.05 });
    try {
      const file = await pictureOf(await lazyProject({ fallback: 'placeholder' }));
      const answer = await quick.fetch(`/files/${file.id}/content?variant=thumb&wait=3600`);
      expect(answer.headers.get('x-variant-fallback')).toBe('placeholder');
      await answer.arrayBuffer();
    } finally {
      await quick.close();
    }
  });

  it('is told when the variant fails', async () => {
    const project = await lazyProject();
    const file = await pictureOf(project, { bytes: picture.subarray(0, 500) });
    const asking = server.fetch(`/files/${file.id}/content?variant=thumb&wait=20`);
    await until(() => room.waits.size === 1);
    await work(project);
    const answer = await asking;
    expect(await answer.json()).toMatchObject({ status: 404, code: 'variant-failed' });
    // Nobody tries the same picture with the same recipe again, and the file itself is as good as before.
    const again = await server.fetch(`/files/${file.id}/content?variant=thumb&wait=20`);
    expect(await again.json()).toMatchObject({ code: 'variant-failed' });
    expect(await waitingJobs(project)).toEqual([]);
    const { status } = await scene.db
      .selectFrom('files')
      .select('status')
      .where('id', '=', file.id)
      .executeTakeFirstOrThrow();
    expect(status).toBe('ready');
  });

  it('is refused when too many wait', async () => {
    const small = roomWith(1);
    const busy = await startServer(scene, { variants: small });
    try {
      const file = await pictureOf(await lazyProject());
      const held = busy.fetch(`/files/${file.id}/content?variant=thumb&wait=20&fallback=none`);
      await until(() => small.waits.size === 1);
      const answer = await busy.fetch(`/files/${file.id}/content?variant=thumb&wait=20`);
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('2');
      expect(await answer.json()).toMatchObject({ code: 'overloaded' });
      small.waits.close();
      expect((await held).status).toBe(404);
    } finally {
      await busy.close();
    }
  });

  it('is let go when its client goes away', async () => {
    const file = await pictureOf(await lazyProject());
    const request = http.get(`${server.origin}/files/${file.id}/content?variant=thumb&wait=20`);
    request.on('error', () => undefined);
    await until(() => room.waits.size === 1);
    request.destroy();
    await until(() => room.waits.size === 0);
  });

  it('does not hold up a server that stops', async () => {
    const stopping = await startServer(scene, { variants: room });
    const file = await pictureOf(await lazyProject());
    const asking = stopping.fetch(`/files/${file.id}/content?variant=thumb&wait=20&fallback=none`);
    await until(() => room.waits.size === 1);
    await stopping.close();
    expect((await asking).status).toBe(404);
  });
});

describe('a variant of another kind', () => {
  it('that the project got after the upload is made on request', async () => {
    const before = await scene.project({ visibility: 'public', variants: {} });
    const file = await pictureOf(before);
    expect((await server.fetch(`/files/${file.id}/content?variant=late`)).status).toBe(404);
    const project = await scene.changeSettings(before, { variants: { late: { width: 30 } } });
    const asking = server.fetch(`/files/${file.id}/content?variant=late&wait=20`);
    await until(() => room.waits.size === 1);
    expect(await rowOf(file, 'late')).toMatchObject({ status: 'pending', lazy: true });
    await work(project);
    const answer = await asking;
    expect(answer.headers.get('content-type')).toBe('image/webp');
    await answer.arrayBuffer();
  });

  it('whose recipe has changed is served as it is until the new one is there, which one request sees to', async () => {
    const before = await lazyProject();
    const file = await pictureOf(before);
    await scene.variant(file, before, 'thumb', Buffer.from('the old one'));
    const project = await scene.changeSettings(before, { variants: { thumb: { width: 30, lazy: true } } });
    for (let round = 0; round < 3; round++) {
      const answer = await server.fetch(`/files/${file.id}/content?variant=thumb&v=1.1`);
      expect(await answer.text()).toBe('the old one');
    }
    expect(await work(project)).toBe(1);
    // What the database's notice does in a running server.
    server.delivery.forget(file.id);
    const old = await server.fetch(`/files/${file.id}/content?variant=thumb&v=1.1`);
    expect(old.headers.get('location')).toMatch(/variant=thumb&v=1\.2$/);
    const fresh = await server.fetch(`/files/${file.id}/content?variant=thumb`);
    expect(fresh.headers.get('content-type')).toBe('image/webp');
    expect((await fresh.arrayBuffer()).byteLength).toBeGreaterThan(20);
    expect(await waitingJobs(project)).toEqual([]);
  });

  it('that its upload has planned is left to that for two seconds, then asked for with priority', async () => {
    const project = await scene.project({ visibility: 'public', variants: { thumb: { width: 40 } } });
    const file = await pictureOf(project);
    await scene.variant(file, project, 'thumb', Buffer.from('x'));
    const set = (updatedAt: Date) =>
      scene.db
        .updateTable('variants')
        .set({ status: 'pending', s3_key: null, updated_at: updatedAt })
        .where('file_id', '=', file.id)
        .execute();
    await set(new Date(Date.now() + 60_000));
    await (await server.fetch(`/files/${file.id}/content?variant=thumb`)).arrayBuffer();
    expect(await waitingJobs(project)).toEqual([]);
    await set(new Date(Date.now() - 60_000));
    const patient = await startServer(scene, { variants: roomWith(1) });
    await (await patient.fetch(`/files/${file.id}/content?variant=thumb`)).arrayBuffer();
    await patient.close();
    expect(await waitingJobs(project)).toMatchObject([
      { lane: 0, payload: { fileId: file.id, variantsConfig: { thumb: { width: 40 } } } },
    ]);
  });

  it('that was given up because its file was in the trash is made once the file is back', async () => {
    const project = await lazyProject();
    const file = await pictureOf(project);
    await (await server.fetch(`/files/${file.id}/content?variant=thumb`)).arrayBuffer();
    const setDeleted = (deletedAt: Date | null) =>
      scene.db.updateTable('files').set({ deleted_at: deletedAt }).where('id', '=', file.id).execute();
    await setDeleted(new Date());
    await work(project);
    expect(await rowOf(file)).toMatchObject({ status: 'failed', failure_code: 'file-deleted' });
    await setDeleted(null);
    const again = await startServer(scene, { variants: roomWith(1) });
    await (await again.fetch(`/files/${file.id}/content?variant=thumb`)).arrayBuffer();
    await again.close();
    expect(await work(project)).toBe(1);
    expect(await rowOf(file)).toMatchObject({ status: 'ready', failure: null });
  });
});

it('what has lost its job is planned anew by the timetable, and nothing else is', async () => {
  const project = await scene.project({
    variants: { thumb: { width: 40 }, wide: { width: 50, lazy: true } },
  });
  const [stuck, fresh] = [await pictureOf(project), await pictureOf(project)];
  for (const file of [stuck, fresh]) {
    await scene.variant(file, project, 'thumb', Buffer.from('x'));
    await scene.variant(file, project, 'wide', Buffer.from('y'));
    await scene.db
      .updateTable('variants')
      .set({ status: 'pending', s3_key: null, lazy: false })
      .where('file_id', '=', file.id)
      .execute();
  }
  await scene.db
    .updateTable('variants')
    .set({ updated_at: new Date(Date.now() - 3600_000) })
    .where('file_id', '=', stuck.id)
    .execute();
  await scene.db.updateTable('variants').set({ lazy: true }).where('name', '=', 'wide').execute();
  const handler = room.handlers.find(({ kind }) => kind === reviveTimetable.kind)!;
  for (let round = 0; round < 2; round++)
    await runJob(scene, handler, { projectId: project.id, payload: {} });
  const jobs = await waitingJobs(project);
  expect(jobs).toMatchObject([{ payload: { fileId: stuck.id, variantsConfig: { thumb: { width: 40 } } } }]);
  expect(Object.keys((jobs[0]!.payload as { variantsConfig: object }).variantsConfig)).toEqual(['thumb']);
});
