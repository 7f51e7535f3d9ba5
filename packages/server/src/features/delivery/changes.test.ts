import { once } from 'node:events';
import http from 'node:http';
import { connect } from 'node:net';

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import {
  openScene,
  startServer,
  type Scene,
  type SceneProject,
  type Server,
} from '../../../test/content-scene.js';
import { listen, type Listener } from '../../foundation/database/listen.js';
import { createLog } from '../../foundation/log.js';
import { changedFile, deliveryChannel } from './changes.js';

const variants = {
  request: () => Promise.reject(new Error('nothing is to be rendered here')),
  waits: {
    settled: () => Promise.reject(new Error('nobody waits here')),
    size: 0,
    changed: () => undefined,
    close: () => undefined,
  },
};

let scene: Scene;
let open: SceneProject;
beforeAll(async () => {
  scene = await openScene();
  open = await scene.project({ visibility: 'public', variants: { thumbnail: { width: 10 } } });
});
afterAll(() => scene.close());

const file = () => scene.file(open, { bytes: Buffer.from('some bytes'), mimeType: 'image/jpeg' });
const change = (id: string, changes: Record<string, unknown>) =>
  scene.db.updateTable('files').set(changes).where('id', '=', id).execute();

describe('the database tells', () => {
  let listener: Listener;
  const notices: string[] = [];
  beforeAll(async () => {
    listener = listen({
      url: scene.url,
      channel: deliveryChannel,
      applicationName: 'test',
      log: await createLog({ level: 'silent', pretty: false }),
      onNotice: (notice) => notices.push(notice),
    });
    await vi.waitFor(() => expect(notices).toEqual(['']));
  });
  afterAll(() => listener.close());

  /** What is told of some work; a mark at its end shows that all of it has arrived. */
  const toldOf = async (work: () => Promise<unknown>): Promise<readonly string[]> => {
    notices.length = 0;
    await work();
    const mark = await file();
    await change(mark.id, { filename: 'mark' });
    await expect.poll(() => notices).toContain(`file ${mark.id}`);
    return notices.slice(0, notices.indexOf(`file ${mark.id}`));
  };

  it('of what answers depend on', async () => {
    const one = await file();
    for (const changes of [
      { filename: 'other' },
      { visibility: 'private' },
      { generation: 2 },
      { deleted_at: new Date() },
    ]) {
      expect(await toldOf(() => change(one.id, changes))).toEqual([`file ${one.id}`]);
    }
    const two = await file();
    await scene.variant(two, open, 'thumbnail', Buffer.from('thumb'));
    const variant = scene.db.updateTable('variants').where('file_id', '=', two.id);
    expect(
      await toldOf(() => variant.set({ s3_key: `${open.id}/thumbnail/${two.id}.2.webp` }).execute()),
    ).toEqual([`file ${two.id}`]);
    expect(await toldOf(() => scene.db.deleteFrom('files').where('id', '=', two.id).execute())).toContain(
      `file ${two.id}`,
    );
    const told = await toldOf(() =>
      scene.changeSettings(open, { visibility: 'public', delivery: { cacheSeconds: 5 } }),
    );
    expect(told).toEqual([`project ${open.id}`]);
    expect(told.map(changedFile)).toEqual([undefined]);
  });

  it('and of nothing else', async () => {
    const one = await file();
    const upload = await scene.file(open, { bytes: Buffer.from('x'), status: 'processing' });
    await change(upload.id, { status: 'uploading' });
    const told = await toldOf(async () => {
      await change(one.id, { heartbeat_at: new Date(), metadata: '{"a":1}', status: 'failed', version: 7 });
      await change(upload.id, { filename: 'not yet seen', heartbeat_at: new Date() });
      await scene.db.updateTable('projects').set({ name: 'other' }).where('id', '=', open.id).execute();
    });
    expect(told).toEqual([]);
  });
});

describe('what is remembered of a file', () => {
  let server: Server;
  beforeAll(async () => {
    server = await startServer(scene, { variants, delivery: { memoryBytes: 1024 * 1024 } });
  });
  afterAll(() => server.close());
  const read = (id: string, query = '') => server.fetch(`/files/${id}/content${query}`);
  const name = async (id: string) => (await read(id)).headers.get('content-disposition');

  it('is believed for less than a second, and forgotten when somebody says so', async () => {
    const one = await file();
    expect(await name(one.id)).toContain('file.bin');
    await change(one.id, { filename: 'renamed.bin' });
    expect(await name(one.id)).toContain('file.bin');
    server.delivery.forget(one.id);
    expect(await name(one.id)).toContain('renamed.bin');
    await change(one.id, { filename: 'again.bin' });
    await expect.poll(() => name(one.id), { timeout: 2000 }).toContain('again.bin');
    await change(one.id, { filename: 'all.bin' });
    server.delivery.forget();
    expect(await name(one.id)).toContain('all.bin');
  });

  it('is one query for any number of requests at once', async () => {
    const one = await file();
    server.delivery.forget();
    const answers = await Promise.all(Array.from({ length: 20 }, () => read(one.id)));
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
    for (const answer of answers) expect(await answer.text()).toBe('some bytes');
  });

  it('small bytes that are asked for again are sent from memory, whatever becomes of the store', async () => {
    const one = await file();
    for (let time = 0; time < 2; time++) expect(await (await read(one.id)).text()).toBe('some bytes');
    await scene.blobs.delete(one.key);
    expect(await (await read(one.id)).text()).toBe('some bytes');
    const part = await server.fetch(`/files/${one.id}/content`, { headers: { range: 'bytes=5-' } });
    expect([part.status, await part.text()]).toEqual([206, 'bytes']);
  });

  it('bytes that are asked for once drive out nothing', async () => {
    const one = await file();
    expect(await (await read(one.id)).text()).toBe('some bytes');
    await scene.blobs.delete(one.key);
    expect((await read(one.id)).status).toBe(502);
  });

  it('bytes that were altered in the store never come in', async () => {
    const one = await file();
    await scene.blobs.put(one.key, Buffer.from('SOME BYTES'));
    // The first time, when they are not to be kept, and again; nor a part of them.
    for (const range of [undefined, undefined, 'bytes=0-3']) {
      const answer = await server.fetch(`/files/${one.id}/content`, range ? { headers: { range } } : {});
      expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([
        502,
        'blob-unavailable',
      ]);
    }
  });
});

describe('small answers', () => {
  it('that wait for a slow reader do not share their memory with those that are sent meanwhile', async () => {
    const server = await startServer(scene, { variants });
    const [size, count] = [200_000, 60];
    const [slow, quick] = await Promise.all(
      [1, 2].map((value) => scene.file(open, { bytes: Buffer.alloc(size, value) })),
    );
    const socket = connect(Number(new URL(server.origin).port), '127.0.0.1');
    const seen = [0, 0, 0];
    try {
      // More than the kernel holds for a connection: what does not fit waits in the memory it was read into.
      socket.write(`GET /files/${slow!.id}/content HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(count));
      await once(socket, 'readable');
      for (let n = 0; n < count; n++) {
        const answer = await server.fetch(`/files/${quick!.id}/content`);
        expect(Buffer.from(await answer.arrayBuffer()).equals(Buffer.alloc(size, 2))).toBe(true);
      }
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        // Neither byte stands in a header.
        for (const value of chunk) if (value < seen.length) seen[value]!++;
        if (seen[1]! + seen[2]! >= size * count) break;
      }
      expect(seen).toEqual([0, size * count, 0]);
    } finally {
      socket.destroy();
      await server.close();
    }
  });
});

describe('whole answers that are verified', () => {
  let server: Server;
  beforeAll(async () => {
    server = await startServer(scene, { variants, delivery: { verifyReads: true } });
  });
  afterAll(() => server.close());

  it.each([1000, 600_000])('are broken off when %i bytes were altered', async (size) => {
    const bytes = Buffer.alloc(size, 7);
    const one = await scene.file(open, { bytes, mimeType: 'image/jpeg' });
    const good = await server.fetch(`/files/${one.id}/content`);
    expect(Buffer.from(await good.arrayBuffer()).equals(bytes)).toBe(true);
    bytes[size - 1] = 8;
    await scene.blobs.put(one.key, bytes);
    const answer = await server.fetch(`/files/${one.id}/content`).catch(() => undefined);
    const body = answer?.status === 200 ? await answer.arrayBuffer().catch(() => undefined) : undefined;
    expect(body).toBeUndefined();
  });

  it('leave no descriptor open when nobody reads them', async () => {
    const one = await scene.file(open, { bytes: Buffer.alloc(600_000, 1), mimeType: 'image/jpeg' });
    for (let round = 0; round < 20; round++) {
      await new Promise<void>((resolve) => {
        const request = http.get(`${server.origin}/files/${one.id}/content`, { agent: false }, (answer) => {
          answer.destroy();
          request.once('close', resolve);
        });
      });
    }
    const good = await server.fetch(`/files/${one.id}/content`);
    expect((await good.arrayBuffer()).byteLength).toBe(600_000);
  });
});

describe('visibility', () => {
  it('of a file wins over that of its project, and going private ends the versioned links', async () => {
    const server = await startServer(scene, { variants });
    try {
      const one = await file();
      expect((await server.fetch(`/files/${one.id}/content?v=1`)).headers.get('cache-control')).toContain(
        'immutable',
      );
      await change(one.id, { visibility: 'private' });
      server.delivery.forget();
      expect((await server.fetch(`/files/${one.id}/content?v=1`)).status).toBe(401);
      const own = await server.fetch(`/files/${one.id}/content?v=9`, { as: one.ownerId });
      expect([own.status, own.headers.get('cache-control')]).toEqual([
        200,
        expect.stringContaining('private, max-age='),
      ]);
      const closed = await scene.project();
      const shown = await scene.file(closed, { bytes: Buffer.from('x'), mimeType: 'image/png' });
      expect((await server.fetch(`/files/${shown.id}/content`)).status).toBe(401);
      await change(shown.id, { visibility: 'public' });
      server.delivery.forget();
      const answer = await server.fetch(`/files/${shown.id}/content`);
      expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'public, max-age=3600']);
    } finally {
      await server.close();
    }
  });
});

describe('behind nginx', () => {
  it('the bytes are named instead of sent, with every header and no length', async () => {
    const server = await startServer(scene, { variants, delivery: { accelPrefix: '/blobs/' } });
    try {
      const one = await file();
      const answer = await server.fetch(`/files/${one.id}/content`, { headers: { range: 'bytes=0-3' } });
      expect([answer.status, await answer.text()]).toEqual([200, '']);
      expect(Object.fromEntries(answer.headers)).toMatchObject({
        'x-accel-redirect': `/blobs/${one.key}`,
        'content-length': '0',
        'content-type': 'image/jpeg',
        'content-security-policy': expect.stringContaining('sandbox'),
      });
      const tag = answer.headers.get('etag') ?? '';
      const current = await server.fetch(`/files/${one.id}/content`, { headers: { 'if-none-match': tag } });
      expect([current.status, current.headers.get('x-accel-redirect')]).toEqual([304, null]);
      const head = await server.fetch(`/files/${one.id}/content`, { method: 'HEAD' });
      expect([head.headers.get('content-length'), head.headers.get('x-accel-redirect')]).toEqual([
        '10',
        null,
      ]);
    } finally {
      await server.close();
    }
  });
});
