import { createHash } from 'node:crypto';
import { truncate, unlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  openScene,
  startServer,
  type Scene,
  type SceneFile,
  type SceneProject,
  type Server,
} from '../../../test/content-scene.js';
import { BlobTruncated, StoreUnavailable, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { newId } from '../../foundation/ids.js';

let scene: Scene;
let server: Server;
let open: SceneProject;
let closed: SceneProject;

/** Nothing in this file is unmade: a request for a render would be a fault. */
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
  open = await scene.project({ visibility: 'public', delivery: { cacheSeconds: 60 } });
  closed = await scene.project();
  server = await startServer(scene, { variants });
});
afterAll(async () => {
  await server.close();
  await scene.close();
});

const thousand = Buffer.from(Array.from({ length: 1000 }, (_, at) => at % 251));
const tagOf = (bytes: Buffer) => `"${createHash('sha256').update(bytes).digest('base64url')}"`;
const bytesOf = async (answer: Response) => Buffer.from(await answer.arrayBuffer());

describe('the bytes of a file', () => {
  let file: SceneFile;
  beforeAll(async () => {
    file = await scene.file(open, { bytes: thousand, mimeType: 'image/jpeg', filename: 'Ein Bild.jpg' });
  });

  it('come with all that a client and a browser need to know', async () => {
    const answer = await server.fetch(`/files/${file.id}/content`);
    expect(answer.status).toBe(200);
    expect(await bytesOf(answer)).toEqual(thousand);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'image/jpeg',
      'content-length': '1000',
      'content-disposition': 'inline; filename="Ein Bild.jpg"',
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=60',
      etag: tagOf(thousand),
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
      'cross-origin-resource-policy': 'cross-origin',
    });
    expect(Date.parse(answer.headers.get('last-modified') ?? '')).not.toBeNaN();
  });

  it('are described by HEAD with the same header and no body', async () => {
    const got = await server.fetch(`/files/${file.id}/content`);
    await got.arrayBuffer();
    const head = await server.fetch(`/files/${file.id}/content`, {
      method: 'HEAD',
      headers: { range: 'bytes=0-1' },
    });
    expect(head.status).toBe(200);
    expect(await head.text()).toBe('');
    const changing = ['date', 'x-request-id', 'connection', 'keep-alive'];
    const headerOf = (answer: Response) => [...answer.headers].filter(([name]) => !changing.includes(name));
    expect(headerOf(head)).toEqual(headerOf(got));
  });

  it.each([
    ['bytes=0-0', 0, 0],
    ['bytes=10-19', 10, 19],
    ['bytes=990-', 990, 999],
    ['bytes=-10', 990, 999],
    ['bytes=-5000', 0, 999],
    ['bytes=500-99999', 500, 999],
  ])('are sent in part for Range: %s', async (range, start, end) => {
    const answer = await server.fetch(`/files/${file.id}/content`, { headers: { range } });
    expect(answer.status).toBe(206);
    expect(answer.headers.get('content-range')).toBe(`bytes ${start}-${end}/1000`);
    expect(answer.headers.get('content-length')).toBe(String(end - start + 1));
    expect(answer.headers.get('etag')).toBe(tagOf(thousand));
    expect(await bytesOf(answer)).toEqual(thousand.subarray(start, end + 1));
  });

  it('with If-Range as the date of the bytes, which is a second old, are sent in part', async () => {
    await scene.db
      .updateTable('files')
      .set({ created_at: new Date('2026-01-02T03:04:05.678Z') })
      .where('id', '=', file.id)
      .execute();
    server.delivery.forget(file.id);
    const date = 'Fri, 02 Jan 2026 03:04:05 GMT';
    const headers = { range: 'bytes=0-9', 'if-range': date };
    const answer = await server.fetch(`/files/${file.id}/content`, { headers });
    expect([answer.status, answer.headers.get('last-modified')]).toEqual([206, date]);
    expect(await bytesOf(answer)).toHaveLength(10);
  });

  it.each(['bytes=0-1,4-5', 'bytes=0-,0-,0-', 'bytes=0-99,50-149', 'bytes=5-2', 'items=0-1', 'bytes=x'])(
    'are sent whole for Range: %s',
    async (range) => {
      const answer = await server.fetch(`/files/${file.id}/content`, { headers: { range } });
      expect(answer.status).toBe(200);
      expect(await bytesOf(answer)).toEqual(thousand);
    },
  );

  it.each(['bytes=1000-', 'bytes=2000-3000', 'bytes=-0'])(
    'are refused with 416 for Range: %s',
    async (range) => {
      const answer = await server.fetch(`/files/${file.id}/content`, { headers: { range } });
      expect(answer.status).toBe(416);
      expect(answer.headers.get('content-range')).toBe('bytes */1000');
      expect(await answer.json()).toMatchObject({ status: 416, code: 'range-not-satisfiable', limit: 1000 });
    },
  );

  it.each([
    ['the tag', tagOf(thousand), 206],
    ['a weak tag', `W/${tagOf(thousand)}`, 200],
    ['another tag', '"other"', 200],
    ['an old date', 'Sun, 06 Nov 1994 08:49:37 GMT', 200],
    ['a later date', 'Fri, 01 Jan 2100 00:00:00 GMT', 200],
  ])('with If-Range as %s', async (_what, ifRange, status) => {
    const headers = { range: 'bytes=0-9', 'if-range': ifRange };
    const answer = await server.fetch(`/files/${file.id}/content`, { headers });
    expect(answer.status).toBe(status);
    expect(await bytesOf(answer)).toHaveLength(status === 206 ? 10 : 1000);
  });

  it.each([
    [{ 'if-none-match': tagOf(thousand) }, 304],
    [{ 'if-none-match': `"x", W/${tagOf(thousand)}` }, 304],
    [{ 'if-none-match': '*' }, 304],
    [{ 'if-none-match': '"x"' }, 200],
    [{ 'if-none-match': '"x"', 'if-modified-since': 'Fri, 01 Jan 2100 00:00:00 GMT' }, 200],
    [{ 'if-modified-since': 'Fri, 01 Jan 2100 00:00:00 GMT' }, 304],
    [{ 'if-modified-since': 'Sun, 06 Nov 1994 08:49:37 GMT' }, 200],
    [{ 'if-match': '"x"' }, 412],
    [{ 'if-match': tagOf(thousand), range: 'bytes=0-0' }, 206],
    [{ 'if-none-match': tagOf(thousand), range: 'bytes=5000-' }, 304],
  ])('with %o are answered %i', async (headers, status) => {
    for (const method of ['GET', 'HEAD']) {
      const answer = await server.fetch(`/files/${file.id}/content`, { method, headers });
      expect(answer.status).toBe(method === 'HEAD' && status === 206 ? 200 : status);
      const body = await bytesOf(answer);
      if (status === 304) {
        expect(body).toHaveLength(0);
        expect(answer.headers.get('etag')).toBe(tagOf(thousand));
        expect(answer.headers.get('cache-control')).toBe('public, max-age=60');
        expect(answer.headers.get('content-type')).toBeNull();
      }
    }
  });

  it.each([
    ['download', 'attachment; filename="Ein Bild.jpg"'],
    ['download=1', 'attachment; filename="Ein Bild.jpg"'],
    ['download=other.jpg', 'attachment; filename="other.jpg"'],
    ['download=a%0D%0ASet-Cookie%3A%20x%3D1', 'attachment; filename="aSet-Cookie: x=1"'],
    ['download=%22%3B%20x%3D%22', 'attachment; filename="\\"; x=\\""'],
    ['download=%00..%2F..%2Fpasswd', 'attachment; filename="_.._passwd"'],
    ['download=%E2%80%AEgpj.exe', 'attachment; filename="gpj.exe"'],
  ])('are saved under a safe name with ?%s', async (query, disposition) => {
    const answer = await server.fetch(`/files/${file.id}/content?${query}`);
    await answer.arrayBuffer();
    expect(answer.headers.get('content-disposition')).toBe(disposition);
    expect(answer.headers.get('set-cookie')).toBeNull();
  });

  it.each([
    'varaint=thumbnail',
    'variant=a&variant=b',
    'wait=soon',
    'wait=-1',
    'fallback=svg',
    `download=${'x'.repeat(300)}`,
  ])('are refused with 400 for ?%s', async (query) => {
    const answer = await server.fetch(`/files/${file.id}/content?${query}`);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ status: 400, code: 'invalid-request' });
  });

  it.each(['nothing', 'files', '../files', 'constructor', '__proto__', 'THUMBNAIL', ''])(
    'have no variant called %j',
    async (name) => {
      const answer = await server.fetch(`/files/${file.id}/content?variant=${encodeURIComponent(name)}`);
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({ code: 'unknown-variant' });
    },
  );

  it.each(['POST', 'PUT', 'DELETE'])('do not answer %s', async (method) => {
    const answer = await server.fetch(`/files/${file.id}/content`, { method });
    expect(answer.status).toBe(405);
    expect(answer.headers.get('allow')).toBe('GET, HEAD');
  });
});

it('an empty file is sent, and has no range', async () => {
  const file = await scene.file(open, { bytes: Buffer.alloc(0) });
  const answer = await server.fetch(`/files/${file.id}/content`);
  expect([answer.status, answer.headers.get('content-length'), await answer.text()]).toEqual([200, '0', '']);
  const part = await server.fetch(`/files/${file.id}/content`, { headers: { range: 'bytes=0-' } });
  expect([part.status, part.headers.get('content-range')]).toEqual([416, 'bytes */0']);
});

it('a large file is streamed, whole and in part', async () => {
  const bytes = Buffer.alloc(3_000_000, 'mediablobkit ');
  const file = await scene.file(open, { bytes });
  const whole = await server.fetch(`/files/${file.id}/content`);
  expect((await bytesOf(whole)).equals(bytes)).toBe(true);
  const part = await server.fetch(`/files/${file.id}/content`, {
    headers: { range: 'bytes=1000000-2500000' },
  });
  expect((await bytesOf(part)).equals(bytes.subarray(1_000_000, 2_500_001))).toBe(true);
});

it.each([
  ['text/html', 'attachment'],
  ['image/svg+xml', 'attachment'],
  ['application/pdf', 'attachment'],
  ['application/octet-stream', 'attachment'],
  ['image/png', 'inline'],
  ['video/mp4', 'inline'],
])('%s comes as %s', async (mimeType, disposition) => {
  const file = await scene.file(open, { bytes: thousand, mimeType, filename: 'page.html' });
  const answer = await server.fetch(`/files/${file.id}/content`);
  await answer.arrayBuffer();
  expect(answer.headers.get('content-disposition')).toBe(`${disposition}; filename="page.html"`);
  expect(answer.headers.get('content-type')).toBe(mimeType);
});

describe('a variant', () => {
  const small = Buffer.from('the small picture');
  let file: SceneFile;
  beforeAll(async () => {
    file = await scene.file(open, { bytes: thousand, mimeType: 'image/jpeg', filename: 'Ein Bild.jpg' });
    await scene.variant(file, open, 'thumbnail', small, 3);
  });

  it('is sent with its own type, tag and name', async () => {
    const answer = await server.fetch(`/files/${file.id}/content?variant=thumbnail`);
    expect(await bytesOf(answer)).toEqual(small);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'image/webp',
      'content-length': String(small.length),
      'content-disposition': 'inline; filename="Ein Bild-thumbnail.webp"',
      'cache-control': 'public, max-age=60',
      etag: tagOf(small),
    });
    expect(answer.headers.get('x-variant-fallback')).toBeNull();
  });

  it('may be kept for ever under the URL with its version', async () => {
    const answer = await server.fetch(`/files/${file.id}/content?variant=thumbnail&v=1.3`);
    expect(await bytesOf(answer)).toEqual(small);
    expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  });

  it('sends a URL with an old version on to the present one', async () => {
    const answer = await server.fetch(`/files/${file.id}/content?download=a%26b&variant=thumbnail&v=1.2`);
    expect(answer.status).toBe(302);
    expect(answer.headers.get('location')).toBe(
      `https://media.example/files/${file.id}/content?variant=thumbnail&download=a%26b&v=1.3`,
    );
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  it('that has failed says why, and is never an image', async () => {
    await scene.db
      .insertInto('variants')
      .values({
        file_id: file.id,
        project_id: open.id,
        name: 'removed',
        status: 'failed',
        failure_code: 'corrupt-image',
        failure: 'The picture is damaged.',
        recipe: '{}',
        recipe_digest: '-',
      })
      .execute();
    const answer = await server.fetch(`/files/${file.id}/content?variant=removed&fallback=original`);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.json()).toMatchObject({ code: 'variant-failed', detail: 'The picture is damaged.' });
  });

  it('of a file that is no picture does not come to be', async () => {
    const text = await scene.file(open, { bytes: thousand, mimeType: 'text/plain' });
    const answer = await server.fetch(`/files/${text.id}/content?variant=thumbnail`);
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ code: 'variant-failed' });
  });
});

describe('a file of a private project', () => {
  let file: SceneFile;
  beforeAll(async () => {
    file = await scene.file(closed, { bytes: thousand, mimeType: 'image/jpeg', filename: 'a.jpg' });
    await scene.variant(file, closed, 'thumbnail', Buffer.from('thumb'));
  });

  it('is not for everybody', async () => {
    expect((await server.fetch(`/files/${file.id}/content`)).status).toBe(401);
    expect((await server.fetch(`/files/${file.id}/content`, { as: newId() })).status).toBe(404);
  });

  it('is for its owner, and no shared cache keeps it', async () => {
    const answer = await server.fetch(`/files/${file.id}/content?v=1`, { as: file.ownerId });
    expect(await bytesOf(answer)).toEqual(thousand);
    expect(answer.headers.get('cache-control')).toBe('private, max-age=3600');
  });

  it('is for whoever has a signed link, and only what it names', async () => {
    const url = server.links.urlFor({ fileId: file.id, variant: 'thumbnail' });
    const answer = await server.fetch(url);
    expect(await answer.text()).toBe('thumb');
    expect(answer.headers.get('cache-control')).toBe('private, max-age=3600');
    const changed = await server.fetch(url.replace('variant=thumbnail&', ''));
    expect(await changed.json()).toMatchObject({ status: 403, code: 'forbidden' });
    expect((await server.fetch(url, { method: 'HEAD' })).status).toBe(200);
  });

  it('is downloaded under the name that the link names', async () => {
    const answer = await server.fetch(server.links.urlFor({ fileId: file.id, download: 'ü.jpg' }));
    await answer.arrayBuffer();
    expect(answer.headers.get('content-disposition')).toBe(
      `attachment; filename="u.jpg"; filename*=UTF-8''%C3%BC.jpg`,
    );
  });

  it('is gone for everybody once it is deleted', async () => {
    const gone = await scene.file(closed, { bytes: thousand });
    const url = server.links.urlFor({ fileId: gone.id });
    await scene.db.updateTable('files').set({ deleted_at: new Date() }).where('id', '=', gone.id).execute();
    expect((await server.fetch(url)).status).toBe(404);
    expect((await server.fetch(`/files/${gone.id}/content`, { as: gone.ownerId })).status).toBe(404);
  });
});

describe('bytes that the store does not have as the row says', () => {
  const large = Buffer.alloc(1_000_000, 'x');
  const pathOf = (file: SceneFile) => join(scene.storeFolder, file.key);
  /** A store whose bodies end with an error after these chunks. */
  const cuttingAfter = (...chunks: readonly Buffer[]): BlobStore => ({
    ...scene.blobs,
    async get(key, options) {
      const blob = await scene.blobs.get(key, options);
      blob.body.destroy();
      const body = Readable.from(
        (async function* () {
          yield* chunks;
          throw new BlobTruncated('the store went away', key);
        })(),
      );
      return { ...blob, body };
    },
  });
  it.each<[string, Buffer, (path: string) => Promise<void>, Record<string, string>]>([
    ['missing', thousand, unlink, {}],
    ['missing, of a part', thousand, unlink, { range: 'bytes=0-9' }],
    ['cut', thousand, (path) => truncate(path, 999), {}],
    ['cut, of a part that is there', thousand, (path) => truncate(path, 999), { range: 'bytes=0-9' }],
    ['cut, of a part that is not', thousand, (path) => truncate(path, 500), { range: 'bytes=600-700' }],
    ['empty', large, (path) => truncate(path, 0), {}],
    ['cut, large', large, (path) => truncate(path, 999_999), {}],
    ['too long', thousand, (path) => writeFile(path, Buffer.alloc(1001)), {}],
  ])('are never a success: %s', async (_what, bytes, spoil, headers) => {
    const file = await scene.file(open, { bytes });
    await spoil(pathOf(file));
    const before = scene.lines.length;
    const counted = await faultsOf(server);
    const answer = await server.fetch(`/files/${file.id}/content`, { headers });
    expect(answer.status).toBe(502);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.text()).not.toContain(file.key);
    expect(answer.headers.get('etag')).toBeNull();
    const errors = scene.lines.slice(before).filter(({ level }) => level === 'error');
    expect(errors).toEqual([expect.objectContaining({ code: 'blob-unavailable' })]);
    expect(await faultsOf(server)).toBe(counted + 1);
  });

  it('are noticed after the header too: the connection ends, and not as if all were well', async () => {
    const file = await scene.file(open, { bytes: large });
    const cutting = cuttingAfter(large.subarray(0, 300_000));
    const faulty = await startServer(scene, { variants, blobs: cutting });
    try {
      const received = await new Promise<{ complete: boolean; size: number }>((resolve, reject) => {
        http
          .get(`${faulty.origin}/files/${file.id}/content`, (answer) => {
            let size = 0;
            answer.on('data', (chunk: Buffer) => (size += chunk.length));
            answer.on('error', () => undefined);
            answer.on('close', () => resolve({ complete: answer.complete, size }));
          })
          .on('error', reject);
      });
      expect(received.complete).toBe(false);
      expect(received.size).toBeLessThan(large.length);
      const told = scene.lines.filter(({ err }) => JSON.stringify(err ?? '').includes('the store went away'));
      expect(told).toHaveLength(1);
      expect(await faulty.counted('mediablobkit_blob_faults_total')).toEqual([
        { labels: { kind: 'broken' }, value: 1 },
      ]);
    } finally {
      await faulty.close();
    }
  });

  it('are a problem when the store fails before the first byte of a large file', async () => {
    const file = await scene.file(open, { bytes: large });
    const faulty = await startServer(scene, { variants, blobs: cuttingAfter() });
    try {
      const answer = await faulty.fetch(`/files/${file.id}/content`);
      expect(answer.status).toBe(502);
      expect(await answer.json()).toMatchObject({ code: 'blob-unavailable' });
    } finally {
      await faulty.close();
    }
  });

  it('are a matter of time when the store is out of reach', async () => {
    const file = await scene.file(open, { bytes: thousand });
    const away: BlobStore = {
      ...scene.blobs,
      get: (key) => Promise.reject(new StoreUnavailable('connection refused', key)),
    };
    const faulty = await startServer(scene, { variants, blobs: away });
    try {
      const answer = await faulty.fetch(`/files/${file.id}/content`);
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('5');
      expect(await answer.json()).toMatchObject({ code: 'service-unavailable' });
      // What needs no bytes works all the same.
      const fresh = await faulty.fetch(`/files/${file.id}/content`, {
        headers: { 'if-none-match': tagOf(thousand) },
      });
      expect(fresh.status).toBe(304);
    } finally {
      await faulty.close();
    }
  });
});

describe('a store that has URLs of its own', () => {
  let now = Date.parse('2026-03-01T12:07:00Z');
  let presigning: Server;
  beforeAll(async () => {
    const blobs: BlobStore = {
      ...scene.blobs,
      presignGet: (key, options) =>
        Promise.resolve(
          `https://bucket.example/${key}?${new URLSearchParams({
            at: options.signedAt.toISOString(),
            for: String(options.expiresIn),
            type: options.contentType ?? '',
            disposition: options.contentDisposition ?? '',
            cache: options.cacheControl ?? '',
          }).toString()}`,
        ),
    };
    presigning = await startServer(scene, { variants, blobs, clock: { now: () => now } });
  });
  afterAll(() => presigning.close());

  it('is where clients are sent, with what the answer must say', async () => {
    const file = await scene.file(open, { bytes: thousand, mimeType: 'text/html', filename: 'page.html' });
    const answer = await presigning.fetch(`/files/${file.id}/content`);
    expect(answer.status).toBe(302);
    const location = new URL(answer.headers.get('location') ?? '');
    expect(location.pathname).toBe(`/${file.key}`);
    expect(Object.fromEntries(location.searchParams)).toEqual({
      at: '2026-03-01T12:00:00.000Z',
      for: '1800',
      type: 'text/html',
      disposition: 'attachment; filename="page.html"',
      cache: 'public, max-age=60',
    });
    expect(answer.headers.get('cache-control')).toBe('public, max-age=60');
  });

  it('gives the same URL within a quarter of an hour; the answer is not kept beyond', async () => {
    const project = await scene.project({ visibility: 'public', delivery: { cacheSeconds: 3600 } });
    const file = await scene.file(project, { bytes: thousand });
    const ask = async () => {
      const { headers } = await presigning.fetch(`/files/${file.id}/content`);
      return [headers.get('location'), headers.get('cache-control')];
    };
    now = Date.parse('2026-03-01T12:15:00Z');
    const [first, keep] = await ask();
    expect(keep).toBe('public, max-age=900');
    now = Date.parse('2026-03-01T12:29:59Z');
    expect(await ask()).toEqual([first, 'public, max-age=1']);
    now = Date.parse('2026-03-01T12:30:00Z');
    expect((await ask())[0]).not.toBe(first);
  });

  it('is not asked for HEAD, for what the client has, or by projects that want a proxy', async () => {
    const file = await scene.file(open, { bytes: thousand });
    const head = await presigning.fetch(`/files/${file.id}/content`, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, '1000']);
    const headers = { 'if-none-match': tagOf(thousand) };
    expect((await presigning.fetch(`/files/${file.id}/content`, { headers })).status).toBe(304);
    const proxied = await scene.project({ visibility: 'public', delivery: { mode: 'proxy' } });
    const other = await scene.file(proxied, { bytes: thousand });
    expect(await bytesOf(await presigning.fetch(`/files/${other.id}/content`))).toEqual(thousand);
  });
});

/** Answers whose bytes could not be sent, as the server counts them. */
async function faultsOf(server: Server): Promise<number> {
  const values = await server.counted('mediablobkit_blob_faults_total');
  return values.reduce((sum, { value }) => sum + value, 0);
}
