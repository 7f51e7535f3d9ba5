import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import {
  nothingToRender,
  openScene,
  startServer,
  type Scene,
  type SceneFile,
  type SceneProject,
  type Server,
} from '../../../../test/content-scene.js';
import { decoderEntry } from '../../../../test/fixtures/imaging.js';
import { see } from '../../../../test/fixtures/looking.js';
import { photo } from '../../../../test/fixtures/pictures.js';
import type { Imaging } from '../../../foundation/imaging/imaging.js';
import { createImaging } from '../../../foundation/imaging/pool.js';
import { previewRoutes } from './routes.js';

let scene: Scene;
let engine: Imaging;
let server: Server;
let project: SceneProject;
let file: SceneFile;
let folder: string;
let picture: Buffer;

async function open(perMinute: number, maxWaiting = 10): Promise<{ server: Server; engine: Imaging }> {
  const { db, blobs, log } = scene;
  const childEntry = await decoderEntry();
  const imaging = createImaging({
    log,
    size: 1,
    memoryLimitBytes: 1024 ** 3,
    wallClockMs: 30_000,
    childEntry,
    maxWaiting,
  });
  const routes = [previewRoutes({ db, blobs, imaging, temporaryFolder: folder, log, perMinute })];
  return { server: await startServer(scene, { variants: nothingToRender, routes }), engine: imaging };
}

beforeAll(async () => {
  scene = await openScene();
  folder = join(scene.temporaryFolder, 'previews');
  ({ server, engine } = await open(1000));
  picture = await photo({ width: 160, height: 120 });
  project = await scene.project();
  file = await scene.file(project, { bytes: picture, mimeType: 'image/jpeg', extension: 'jpg' });
});
afterAll(async () => {
  await server.close();
  await engine.close();
  await scene.close();
});

const ask = (recipe: unknown, { as = project.ownerId, id = file.id, accept = '*/*', at = server } = {}) =>
  at.fetch(`/files/${id}/preview`, {
    method: 'POST',
    as,
    headers: { 'content-type': 'application/json', accept },
    body: JSON.stringify(recipe),
  });
const codeOf = async (answer: Response) => [answer.status, ((await answer.json()) as { code: string }).code];

it('shows what a recipe makes of a file, and keeps nothing', async () => {
  const answer = await ask({ width: 50, height: 20, fit: 'cover', format: 'png' });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('image/png');
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('x-image-width')).toBe('50');
  const bytes = Buffer.from(await answer.arrayBuffer());
  expect(await see(bytes)).toMatchObject({ width: 50, height: 20 });
  expect(await readdir(folder)).toEqual([]);
  expect(await scene.db.selectFrom('variants').selectAll().execute()).toEqual([]);
});

it('takes the format that the client knows', async () => {
  for (const [accept, type] of [
    ['image/avif,*/*', 'image/avif'],
    ['*/*', 'image/jpeg'],
  ] as const) {
    const answer = await ask({ width: 20, format: 'auto' }, { accept });
    expect(answer.headers.get('content-type')).toBe(type);
    await answer.arrayBuffer();
  }
});

it('says what is wrong with a recipe, a file or a caller', async () => {
  expect(await codeOf(await ask({}))).toEqual([400, 'invalid-request']);
  expect(await codeOf(await ask({ width: 0 }))).toEqual([400, 'invalid-request']);
  expect(await codeOf(await ask({ width: 5, colour: 'red' }))).toEqual([400, 'invalid-request']);
  const text = await scene.file(project, { bytes: Buffer.from('text'), mimeType: 'text/plain' });
  expect(await codeOf(await ask({ width: 5 }, { id: text.id }))).toEqual([422, 'preview-failed']);
  const broken = await scene.file(project, { bytes: picture.subarray(0, 300), mimeType: 'image/jpeg' });
  expect(await codeOf(await ask({ width: 5 }, { id: broken.id }))).toEqual([422, 'preview-failed']);
  const { ownerId: stranger } = await scene.project();
  expect(await codeOf(await ask({ width: 5 }, { as: stranger }))).toEqual([404, 'not-found']);
});

it('is made so often in a minute, and not more', async () => {
  const slow = await open(2);
  try {
    for (let n = 0; n < 2; n++) await (await ask({ width: 5 }, { at: slow.server })).arrayBuffer();
    const refused = await ask({ width: 5 }, { at: slow.server });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await codeOf(refused)).toEqual([429, 'too-many-requests']);
  } finally {
    await slow.server.close();
    await slow.engine.close();
  }
});

it('is refused while too many wait for the decoder', async () => {
  const small = await open(1000, 1);
  try {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ask({ width: 150, format: 'avif', effort: 9 }, { at: small.server })),
    );
    const codes = answers.map(({ status }) => status);
    expect(codes).toContain(200);
    expect(codes).toContain(503);
    for (const answer of answers) await answer.arrayBuffer();
    expect(await readdir(folder)).toEqual([]);
  } finally {
    await small.server.close();
    await small.engine.close();
  }
});
