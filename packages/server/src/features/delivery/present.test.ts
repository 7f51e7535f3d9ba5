import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Value } from 'typebox/value';

import {
  openScene,
  startServer,
  type Scene,
  type SceneFile,
  type Server,
} from '../../../test/content-scene.js';
import { createApp } from '../../foundation/http/app.js';
import type { FileRow } from '../files/queries.js';
import { createPresenter, FileViewSchema, type Presenter } from './present.js';

let scene: Scene;
let server: Server;
let present: Presenter;

const variants = {
  request: () => Promise.reject(new Error('nothing is to be rendered here')),
  waits: {
    settled: () => Promise.reject(new Error('nobody waits here')),
    size: 0,
    changed: () => undefined,
    close: () => undefined,
  },
};

beforeAll(async () => {
  scene = await openScene();
  server = await startServer(scene, { variants });
  present = createPresenter({ db: scene.db, links: server.links, publicUrl: 'https://media.example' });
});
afterAll(async () => {
  await server.close();
  await scene.close();
});

const rowOf = (file: SceneFile): Promise<FileRow> =>
  scene.db.selectFrom('files').selectAll().where('id', '=', file.id).executeTakeFirstOrThrow();

async function viewOf(file: SceneFile) {
  const [view] = await present(file.projectId, [await rowOf(file)]);
  expect(Value.Errors(FileViewSchema, view)).toEqual([]);
  return view!;
}

const picture = { bytes: Buffer.from('picture'), mimeType: 'image/jpeg', filename: 'a.jpg' };

describe('the view of a file', () => {
  it('tells all there is to know, and not where the bytes are kept', async () => {
    const project = await scene.project({
      visibility: 'public',
      variants: { thumb: { width: 9 }, late: { width: 8 } },
    });
    const file = await scene.file(project, { ...picture, thumbhash: Buffer.from([1, 2, 3]) });
    const key = await scene.variant(file, project, 'thumb', Buffer.from('small'), 2);
    const view = await viewOf(file);
    const address = `https://media.example/files/${file.id}/content`;
    expect(view).toMatchObject({
      id: file.id,
      projectId: project.id,
      filename: 'a.jpg',
      mimeType: 'image/jpeg',
      size: 7,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      status: 'ready',
      failure: null,
      thumbhash: 'AQID',
      exif: null,
      metadata: {},
      integrity: 'unchecked',
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
      url: `${address}?v=1`,
      variants: {
        thumb: {
          status: 'ready',
          url: `${address}?variant=thumb&v=1.2`,
          width: 1,
          size: 5,
          mimeType: 'image/webp',
        },
        // The project got it after the upload: made when somebody asks.
        late: { status: 'pending', lazy: true, url: `${address}?variant=late`, size: null },
      },
    });
    expect(JSON.stringify(view)).not.toContain(key);
    expect(JSON.stringify(view)).not.toContain(file.key);
  });

  it('goes through its schema without losing anything', async () => {
    const project = await scene.project({ variants: { thumb: { width: 9 }, late: { width: 8 } } });
    const file = await scene.file(project, picture);
    await scene.variant(file, project, 'thumb', Buffer.from('small'));
    await scene.db
      .updateTable('files')
      .set({
        exif: JSON.stringify({ cameraMake: 'X', iso: 100 }),
        metadata: JSON.stringify({ tags: ['a', { b: null }], n: 1.5 }),
      })
      .where('id', '=', file.id)
      .execute();
    const view = await viewOf(file);
    expect(view.metadata).toEqual({ tags: ['a', { b: null }], n: 1.5 });
    const app = createApp({ log: scene.log, trustedProxies: [] });
    app.get('/view', { schema: { response: { 200: FileViewSchema } } }, async () => view);
    const answer = await app.inject('/view');
    expect(answer.json()).toEqual(view);
    await app.close();
  });

  it('has URLs that work as they stand', async () => {
    for (const visibility of ['public', 'private']) {
      const project = await scene.project({ visibility, variants: { thumb: { width: 9 } } });
      const file = await scene.file(project, picture);
      await scene.variant(file, project, 'thumb', Buffer.from('small'));
      const view = await viewOf(file);
      expect(await (await server.fetch(view.url)).text()).toBe('picture');
      expect(await (await server.fetch(view.variants['thumb']!.url)).text()).toBe('small');
    }
  });

  it('says why a variant has failed', async () => {
    const project = await scene.project({ variants: { thumb: { width: 9 } } });
    const file = await scene.file(project, picture);
    await scene.variant(file, project, 'thumb', Buffer.from('small'));
    await scene.db
      .updateTable('variants')
      .set({ status: 'failed', failure_code: 'corrupt-image', failure: 'Damaged.' })
      .where('file_id', '=', file.id)
      .execute();
    expect((await viewOf(file)).variants['thumb']).toMatchObject({
      status: 'failed',
      failure: { code: 'corrupt-image', detail: 'Damaged.' },
    });
  });

  it('promises no variants of what is no picture', async () => {
    const project = await scene.project();
    expect((await viewOf(await scene.file(project, { bytes: Buffer.from('text') }))).variants).toEqual({});
  });
});

it('a page of files is presented in its order, and each with its own variants', async () => {
  const project = await scene.project({ variants: { thumb: { width: 9 } } });
  const files = [];
  for (let at = 0; at < 5; at++) files.push(await scene.file(project, { ...picture, filename: `${at}.jpg` }));
  await scene.variant(files[3]!, project, 'thumb', Buffer.from('small'));
  const views = await present(project.id, await Promise.all(files.map(rowOf)));
  expect(views.map(({ filename }) => filename)).toEqual(['0.jpg', '1.jpg', '2.jpg', '3.jpg', '4.jpg']);
  expect(views.map(({ variants: { thumb } }) => thumb!.status)).toEqual([
    'pending',
    'pending',
    'pending',
    'ready',
    'pending',
  ]);
  expect(await present(project.id, [])).toEqual([]);
});
