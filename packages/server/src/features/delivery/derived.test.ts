import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import {
  derivable,
  openScene,
  openVariants,
  runJob,
  startServer,
  workOff,
  type Scene,
  type SceneFile,
  type SceneProject,
  type Server,
} from '../../../test/content-scene.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { see } from '../../../test/fixtures/looking.js';
import { animation, photo } from '../../../test/fixtures/pictures.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { findFile } from '../files/queries.js';
import { collectVariants } from '../variants/collect.js';
import { planVariants } from '../variants/plan.js';
import type { VariantRequests, VariantsWork } from '../variants/variants.js';
import { createPresenter } from './present.js';

let scene: Scene;
let engine: Imaging;
let room: VariantRequests & VariantsWork;
let server: Server;
let picture: Buffer;
let renders = 0;

beforeAll(async () => {
  scene = await openScene();
  const childEntry = await decoderEntry();
  const { log } = scene;
  engine = createImaging({ log, size: 1, memoryLimitBytes: 1024 ** 3, wallClockMs: 30_000, childEntry });
  picture = await photo({ width: 160, height: 120 });
});
afterAll(async () => {
  await engine.close();
  await scene.close();
});
beforeEach(async () => {
  renders = 0;
  const imaging: Imaging = {
    ...engine,
    render: (request) => {
      renders += 1;
      return engine.render(request);
    },
  };
  room = openVariants(scene, { imaging, perFile: 3, keepSeconds: 1000 });
  server = await startServer(scene, { variants: room });
});
afterEach(() => server.close());

const browser = 'image/avif,image/webp,image/*,*/*;q=0.8';

async function upload(project: SceneProject, bytes = picture, mimeType = 'image/jpeg'): Promise<SceneFile> {
  const file = await scene.file(project, {
    bytes,
    mimeType,
    filename: 'a.jpg',
    extension: 'jpg',
    status: 'processing',
  });
  await scene.db.transaction().execute((tx) => planVariants(tx, derivable(file, mimeType), project.settings));
  return file;
}

const rowsOf = (file: SceneFile) =>
  scene.db.selectFrom('variants').selectAll().where('file_id', '=', file.id).orderBy('name').execute();
const buriedOf = async (project: SceneProject) => {
  const rows = await scene.db
    .selectFrom('tombstones')
    .select('key')
    .where('project_id', '=', project.id)
    .execute();
  return rows.map(({ key }) => key).sort();
};
const usedBy = async (project: SceneProject) => {
  const row = await scene.db
    .selectFrom('project_usage')
    .select('variant_bytes')
    .where('project_id', '=', project.id)
    .executeTakeFirstOrThrow();
  return row.variant_bytes;
};
const get = (path: string, accept?: string, as?: string) =>
  server.fetch(path, {
    ...(accept === undefined ? {} : { headers: { accept } }),
    ...(as === undefined ? {} : { as }),
  });

/** The answer's type and size of picture. */
async function seen(answer: Response) {
  const { width, height } = await see(Buffer.from(await answer.arrayBuffer()));
  return { status: answer.status, type: answer.headers.get('content-type'), width, height };
}

describe('a variant whose format is negotiated', () => {
  const auto = { visibility: 'public', variants: { pic: { width: 40, format: 'auto' } } };

  it('is sent in the best format that the client names, and says that it depends on that', async () => {
    const project = await scene.project(auto);
    const file = await upload(project);
    await workOff(scene, room, project);
    expect(renders).toBe(1);
    for (const [accept, type] of [
      [browser, 'image/avif'],
      ['image/webp,*/*', 'image/webp'],
      ['image/avif;q=0,image/webp', 'image/webp'],
    ] as const) {
      const answer = await get(`/files/${file.id}/content?variant=pic`, accept);
      expect(answer.headers.get('vary')).toContain('Accept');
      expect(answer.headers.get('content-disposition')).toContain(`a-pic.${type.slice(6)}`);
      expect(await seen(answer)).toEqual({ status: 200, type, width: 40, height: 30 });
    }
    expect(renders).toBe(1);
    const old = get(`/files/${file.id}/content?variant=pic&wait=20`, '*/*');
    while (room.waits.size === 0) await new Promise((resolve) => setImmediate(resolve));
    await workOff(scene, room, project);
    expect(await seen(await old)).toMatchObject({ type: 'image/jpeg', width: 40 });
    const [avif, jpeg, webp] = await rowsOf(file);
    expect([avif!.s3_key, jpeg!.s3_key, webp!.s3_key]).toEqual([
      `${project.id}/pic.avif/${file.id}.avif`,
      `${project.id}/pic.jpeg/${file.id}.jpg`,
      `${project.id}/pic.webp/${file.id}.webp`,
    ]);
  });

  it('answers 304 by the tag of the format, and never says so of another', async () => {
    const project = await scene.project(auto);
    const file = await upload(project);
    await workOff(scene, room, project);
    const path = `/files/${file.id}/content?variant=pic`;
    const avif = await get(path, browser);
    const etag = avif.headers.get('etag')!;
    await avif.arrayBuffer();
    const ask = (accept: string) => server.fetch(path, { headers: { accept, 'if-none-match': etag } });
    const same = await ask(browser);
    expect([same.status, same.headers.get('vary')]).toEqual([304, expect.stringContaining('Accept')]);
    const other = await ask('image/webp');
    expect(other.status).toBe(200);
    await other.arrayBuffer();
  });

  it('lends another format that the client knows until the better one is there', async () => {
    const project = await scene.project(auto);
    const file = await upload(project);
    await workOff(scene, room, project);
    await scene.db
      .deleteFrom('variants')
      .where('file_id', '=', file.id)
      .where('name', '=', 'pic.avif')
      .execute();
    server.delivery.forget(file.id);
    const answer = await get(`/files/${file.id}/content?variant=pic`, browser);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('x-variant-fallback')).toBe('variant');
    expect(await seen(answer)).toMatchObject({ type: 'image/webp', width: 40 });
    await workOff(scene, room, project);
    server.delivery.forget(file.id);
    expect(await seen(await get(`/files/${file.id}/content?variant=pic`, browser))).toMatchObject({
      type: 'image/avif',
    });
  });

  it('has one version for all formats, which changes when one of them does', async () => {
    const project = await scene.project(auto);
    const file = await upload(project);
    await workOff(scene, room, project);
    const present = createPresenter({
      db: scene.db,
      links: server.links,
      publicUrl: 'https://media.example',
    });
    const view = async () => {
      const [shown] = await present(project.id, [(await findFile(scene.db, project.id, file.id))!]);
      return shown!.variants['pic']!;
    };
    const before = await view();
    expect(before).toMatchObject({
      status: 'ready',
      mimeType: null,
      formats: {
        avif: { status: 'ready', mimeType: 'image/avif' },
        webp: { status: 'ready' },
        jpeg: { status: 'pending' },
      },
    });
    const kept = async (url: string, accept: string) => {
      const answer = await get(url, accept);
      await answer.arrayBuffer();
      return [answer.status, answer.headers.get('cache-control')];
    };
    const immutable = [200, 'public, max-age=31536000, immutable'];
    expect(await kept(before.url, browser)).toEqual(immutable);
    expect(await kept(before.url, 'image/webp')).toEqual(immutable);

    // One format is made anew.
    await scene.db
      .updateTable('variants')
      .set({ recipe_digest: 'old' })
      .where('file_id', '=', file.id)
      .where('name', '=', 'pic.webp')
      .execute();
    server.delivery.forget(file.id);
    await (await get(before.url, 'image/webp')).arrayBuffer();
    await workOff(scene, room, project);
    server.delivery.forget(file.id);
    const after = await view();
    expect(after.url).not.toBe(before.url);
    for (const accept of [browser, 'image/webp']) {
      const moved = await get(before.url, accept);
      expect([moved.status, moved.headers.get('vary')]).toEqual([302, expect.stringContaining('Accept')]);
      expect(moved.headers.get('location')).toBe(after.url);
      expect(await kept(after.url, accept)).toEqual(immutable);
    }
    // A version that does not exist yet is kept by nobody.
    expect((await kept(after.url.replace(/v=[^&]+/, 'v=1.99'), browser))[0]).toBe(302);
  });

  it('moves: an animation is sent as WebP even to clients that know AVIF', async () => {
    const project = await scene.project(auto);
    const file = await upload(
      project,
      await animation({ width: 60, height: 45, frames: 3, format: 'gif' }),
      'image/gif',
    );
    await workOff(scene, room, project);
    const answer = await get(`/files/${file.id}/content?variant=pic`, browser);
    expect(answer.headers.get('content-type')).toBe('image/webp');
    await answer.arrayBuffer();
    expect((await rowsOf(file)).map(({ name }) => name)).toEqual(['pic.gif', 'pic.webp']);
  });

  it('is what it was before until the change of its format is done', async () => {
    const before = await scene.project({ visibility: 'public', variants: { pic: { width: 30 } } });
    const file = await upload(before);
    await workOff(scene, room, before);
    const project = await scene.changeSettings(before, auto);
    server.delivery.forget();
    const answer = await get(`/files/${file.id}/content?variant=pic`, browser);
    expect(answer.headers.get('x-variant-fallback')).toBe('variant');
    expect(await seen(answer)).toMatchObject({ type: 'image/webp', width: 30 });
    await workOff(scene, room, project);
    server.delivery.forget();
    expect(await seen(await get(`/files/${file.id}/content?variant=pic`, browser))).toMatchObject({
      type: 'image/avif',
      width: 40,
    });
  });
});

describe('a transformation', () => {
  const linkTo = (file: SceneFile, transform: object) =>
    server.links.urlFor({ fileId: file.id, transform: { fit: 'inside', format: 'webp', ...transform } });

  it('of a signed link is made once, stored, and sent', async () => {
    const project = await scene.project({ variants: {} });
    const file = await upload(project);
    const url = linkTo(file, { width: 50, height: 20, fit: 'cover', quality: 60 });
    const asking = Array.from({ length: 20 }, () => get(url));
    await (await Promise.all(asking)).at(0)!.arrayBuffer();
    await workOff(scene, room, project);
    expect(renders).toBe(1);
    server.delivery.forget();
    const answer = await get(url);
    expect(answer.headers.get('cache-control')).toBe('private, max-age=3600');
    expect(answer.headers.get('content-disposition')).toContain('a.webp');
    expect(await seen(answer)).toEqual({ status: 200, type: 'image/webp', width: 50, height: 20 });
    expect(renders).toBe(1);
    const [row] = await rowsOf(file);
    expect(row!.name).toMatch(/^adhoc-[0-9a-f]{16}$/);
    expect(row).toMatchObject({ s3_key: `${project.id}/${row!.name}/${file.id}.webp`, lazy: true });
    expect(row!.expires_at!.getTime()).toBeGreaterThan(Date.now() + 900_000);
    expect(await usedBy(project)).toBe(row!.size);
  });

  it('is signed in every word, and a link for it is no right to anything else', async () => {
    const project = await scene.project({ variants: { thumb: { width: 10 } } });
    const file = await upload(project);
    const url = linkTo(file, { width: 50 });
    for (const other of [
      url.replace('width=50', 'width=51'),
      url.replace('width=50', 'width=50&blur=5'),
      url.replace('width=50&', ''),
      url.replace('width=50', 'variant=thumb'),
      url.replace('fit=inside', 'fit=cover'),
    ]) {
      expect(other).not.toBe(url);
      expect((await get(other)).status).toBe(403);
    }
    // Until it is there, the original is not for whoever has the link.
    const answer = await get(url);
    expect(answer.headers.get('x-variant-fallback')).toBe('placeholder');
    await answer.arrayBuffer();
  });

  it('without a signature is made only to sizes that the project allows', async () => {
    const project = await scene.project({ visibility: 'public', allowedSizes: ['64x48', '30x', 'x20'] });
    const file = await upload(project);
    const ask = async (query: string) => {
      const answer = await get(`/files/${file.id}/content?${query}`, browser, project.ownerId);
      await answer.arrayBuffer();
      return answer.status;
    };
    for (const query of [
      'width=64&height=48',
      'width=30&format=auto',
      'height=20&format=jpeg',
      'width=64&height=48&fit=cover&position=top',
    ])
      expect(await ask(query)).toBe(200);
    for (const query of [
      'width=64',
      'height=48',
      'width=65&height=48',
      'width=64&height=48&quality=90',
      'width=30&dpr=2',
      'width=30&blur=1',
      'rotate=90&width=30',
    ])
      expect(await ask(query)).toBe(403);
    await workOff(scene, room, project);
    server.delivery.forget();
    const answer = await get(`/files/${file.id}/content?width=30&format=auto`, browser);
    expect(answer.headers.get('vary')).toContain('Accept');
    expect(await seen(answer)).toEqual({ status: 200, type: 'image/avif', width: 30, height: 23 });
  });

  it('that cannot be made says why, at every place', async () => {
    const project = await scene.project({ visibility: 'public' });
    const file = await upload(project);
    const ask = async (query: string) => {
      const answer = await get(`/files/${file.id}/content?${query}`);
      return [answer.status, ((await answer.json()) as { errors: { pointer: string }[] }).errors];
    };
    expect(await ask('width=0&format=exe')).toEqual([
      400,
      [
        expect.objectContaining({ pointer: '#/query/width' }),
        expect.objectContaining({ pointer: '#/query/format' }),
      ],
    ]);
    expect(await ask('fit=cover')).toEqual([400, [expect.objectContaining({ pointer: '#/query' })]]);
    expect(await ask('variant=thumb&width=5')).toEqual([
      400,
      [expect.objectContaining({ pointer: '#/query/variant' })],
    ]);
    expect(await ask(`width=5&crop=${'1'.repeat(200)}`)).toMatchObject([400, [{ pointer: '#/query/crop' }]]);
  });

  it('takes the place of that which was not asked for longest, and no key is used twice', async () => {
    const project = await scene.project({ variants: {} });
    const file = await upload(project);
    const widths = [10, 11, 12];
    for (const width of widths) await (await get(linkTo(file, { width }))).arrayBuffer();
    await workOff(scene, room, project);
    const before = await rowsOf(file);
    expect(before.map(({ status }) => status)).toEqual(['ready', 'ready', 'ready']);
    // The first was asked for last.
    const nameOf = async (width: number) => {
      const rows = await rowsOf(file);
      return rows.find(({ recipe }) => (recipe as { width: number }).width === width)!;
    };
    const expire = async (width: number, seconds: number) =>
      scene.db
        .updateTable('variants')
        .set({ expires_at: new Date(Date.now() + seconds * 1000) })
        .where('file_id', '=', file.id)
        .where('name', '=', (await nameOf(width)).name)
        .execute();
    await expire(10, 900);
    await expire(11, 600);
    await expire(12, 700);
    const victim = await nameOf(11);
    await (await get(linkTo(file, { width: 13 }))).arrayBuffer();
    await workOff(scene, room, project);
    const after = await rowsOf(file);
    expect(after.map(({ recipe }) => (recipe as { width: number }).width).sort()).toEqual([10, 12, 13]);
    expect(await buriedOf(project)).toEqual([victim.s3_key]);
    expect(await usedBy(project)).toBe(after.reduce((sum, { size }) => sum + size!, 0));
    // A process that does not remember that it was asked for this one a moment ago.
    const fresh = await startServer(scene, {
      variants: openVariants(scene, { imaging: engine, perFile: 3 }),
    });
    await (await fresh.fetch(linkTo(file, { width: 11 }))).arrayBuffer();
    await fresh.close();
    await workOff(scene, room, project);
    expect((await nameOf(11)).s3_key).toBe(victim.s3_key!.replace('.webp', '.2.webp'));
  });

  it('goes when nobody has asked for it in time, and stays for those who do', async () => {
    const project = await scene.project({ variants: {} });
    const file = await upload(project);
    for (const width of [10, 11]) await (await get(linkTo(file, { width }))).arrayBuffer();
    await workOff(scene, room, project);
    const [one, other] = await rowsOf(file);
    const expiry = (name: string, seconds: number) =>
      scene.db
        .updateTable('variants')
        .set({ expires_at: new Date(Date.now() + seconds * 1000) })
        .where('file_id', '=', file.id)
        .where('name', '=', name)
        .execute();
    await expiry(one!.name, -1);
    await expiry(other!.name, 400);
    server.delivery.forget();
    const recipe = other!.recipe as { width: number };
    await (await get(linkTo(file, { width: recipe.width }))).arrayBuffer();
    const renewed = async () => (await rowsOf(file)).find(({ name }) => name === other!.name)!.expires_at!;
    while ((await renewed()).getTime() < Date.now() + 900_000)
      await new Promise((resolve) => setImmediate(resolve));

    const collect = room.handlers.find(({ kind }) => kind === collectVariants)!;
    await runJob(scene, collect, { projectId: project.id, payload: {} });
    expect((await rowsOf(file)).map(({ name }) => name)).toEqual([other!.name]);
    expect(await buriedOf(project)).toEqual([one!.s3_key]);
    expect(await usedBy(project)).toBe(other!.size);
  });
});
