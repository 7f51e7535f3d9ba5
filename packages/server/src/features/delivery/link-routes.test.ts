import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  openScene,
  startServer,
  type Scene,
  type SceneFile,
  type SceneProject,
  type Server,
} from '../../../test/content-scene.js';
import { newId } from '../../foundation/ids.js';

const variants = {
  request: () => Promise.reject(new Error('nothing is to be rendered here')),
  waits: {
    settled: () => Promise.reject(new Error('nobody waits here')),
    size: 0,
    changed: () => undefined,
    close: () => undefined,
  },
};

const week = 7 * 24 * 3600;
/** Half a second past a whole one. */
const start = Date.parse('2026-03-01T12:00:00.500Z');
let now = start;

let scene: Scene;
let server: Server;
let project: SceneProject;
let file: SceneFile;

beforeAll(async () => {
  scene = await openScene();
  project = await scene.project({});
  server = await startServer(scene, { variants, clock: { now: () => now } });
  file = await scene.file(project, {
    bytes: Buffer.from('the original'),
    mimeType: 'image/jpeg',
    filename: 'Ein Bild.jpg',
  });
  await scene.variant(file, project, 'thumbnail', Buffer.from('the thumbnail'));
});
afterAll(async () => {
  await server.close();
  await scene.close();
});

async function post(body: unknown, id = file.id, as = file.ownerId) {
  const answer = await server.fetch(`/files/${id}/links`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    as,
  });
  const json = (await answer.json()) as { url: string; expiresAt: string; code: string };
  return { status: answer.status, ...json };
}

describe('a link that is asked for', () => {
  it('lets nobody in particular read the original, until the moment it names', async () => {
    now = start;
    const { status, url, expiresAt } = await post({ expiresIn: 90 });
    expect(status).toBe(201);
    expect(expiresAt).toBe('2026-03-01T12:01:31.000Z');
    const answer = await server.fetch(url);
    expect([answer.status, await answer.text()]).toEqual([200, 'the original']);
    expect(answer.headers.get('content-disposition')).toBe('inline; filename="Ein Bild.jpg"');
    now = Date.parse(expiresAt) - 1;
    expect((await server.fetch(url)).status).toBe(200);
    now = Date.parse(expiresAt);
    expect(await (await server.fetch(url)).json()).toMatchObject({ status: 403, code: 'link-expired' });
  });

  it('reads a variant and nothing else', async () => {
    now = start;
    const { url } = await post({ variant: 'thumbnail', expiresIn: 1 });
    expect(await (await server.fetch(url)).text()).toBe('the thumbnail');
    const original = new URL(url);
    original.searchParams.delete('variant');
    expect((await server.fetch(original.pathname + original.search)).status).toBe(403);
  });

  it('may name a variant that is not made yet, not one that nobody knows', async () => {
    const { status, url } = await post({ variant: 'medium' });
    expect([status, new URL(url).searchParams.get('variant')]).toEqual([201, 'medium']);
    expect(await post({ variant: 'nonsense' })).toMatchObject({ status: 404, code: 'unknown-variant' });
    expect(await post({ variant: 'constructor' })).toMatchObject({ status: 404, code: 'unknown-variant' });
  });

  it.each([
    [true, 'attachment; filename="Ein Bild.jpg"'],
    [false, 'inline; filename="Ein Bild.jpg"'],
    ['other.jpg', 'attachment; filename="other.jpg"'],
    ['a\r\nb: "c" & d.jpg', 'attachment; filename="ab: \\"c\\" & d.jpg"'],
    ['d\ud800', 'attachment; filename="d"; filename*=UTF-8\'\'d%EF%BF%BD'],
  ])('saves the bytes as told by download: %j', async (download, disposition) => {
    const { status, url } = await post({ download });
    expect(status).toBe(201);
    const answer = await server.fetch(url);
    await answer.arrayBuffer();
    expect(answer.headers.get('content-disposition')).toBe(disposition);
  });

  it('lasts a week at most, and for the usual time when nothing is asked', async () => {
    now = start;
    expect((await post({ expiresIn: week })).expiresAt).toBe('2026-03-08T12:00:01.000Z');
    expect(await post({ expiresIn: week + 1 })).toMatchObject({
      status: 400,
      code: 'invalid-request',
      limit: week,
      errors: [{ pointer: '/expiresIn', detail: `must be <= ${week}` }],
    });
    // An hour, rounded up to the next quarter, so that the next caller gets the same URL.
    expect((await post({})).expiresAt).toBe('2026-03-01T13:15:00.000Z');
  });

  it.each([
    ['/expiresIn', { expiresIn: 0 }],
    ['/expiresIn', { expiresIn: 1.5 }],
    ['/expiresIn', { expiresIn: '60' }],
    ['/variant', { variant: 'x'.repeat(65) }],
    ['/download', { download: '' }],
    ['/download', { download: 'x'.repeat(256) }],
    ['/download', { download: 1 }],
    ['/width', { width: 100 }],
  ])('is refused at %s of %j', async (pointer, body) => {
    expect(await post(body)).toMatchObject({ status: 400, code: 'invalid-request', errors: [{ pointer }] });
  });

  it('is made only for those who may read the file, and not by means of another link', async () => {
    expect(await post({}, file.id, newId())).toMatchObject({ status: 404, code: 'not-found' });
    expect(await post({}, newId())).toMatchObject({ status: 404, code: 'not-found' });
    const nobody = await server.fetch(`/files/${file.id}/links`, { method: 'POST' });
    expect(nobody.status).toBe(401);
    const { search } = new URL((await post({})).url);
    const byLink = await server.fetch(`/files/${file.id}/links${search}`, { method: 'POST' });
    expect(byLink.status).toBe(403);
  });

  it('is not made for a file that is still arriving', async () => {
    const arriving = await scene.file(project, { bytes: Buffer.from('x'), status: 'uploading' });
    expect(await post({}, arriving.id)).toMatchObject({ status: 404, code: 'not-found' });
  });
});
