import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';

import { sql } from 'kysely';
import pLimit from 'p-limit';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { pattern } from '../src/foundation/blobs/contract.suite.js';
import type { BlobStore } from '../src/foundation/blobs/blob-store.js';
import { createLog } from '../src/foundation/log.js';
import { createRunner } from '../src/foundation/queue/runner.js';
import { answerOf, startOddSource, type OddSource } from './odd-source.js';
import { createUploadKit, nothing, type UploadKit } from './upload-kit.js';

const mebibyte = 1024 * 1024;
const everyPort = Array.from({ length: 65_536 }, (_, port) => String(port));

interface Signed {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
}
interface Begun {
  readonly id: string;
  readonly put?: Signed;
  readonly multipart?: { readonly partBytes: number };
}
type Scene = UploadKit & { readonly projectId: string; readonly source: OddSource };

/**
 * `count` uploads by every entry, each given up somewhere on its way: clients that vanish between two bytes, that never
 * come back, that never complete, and sources that stop. When their time is over nothing of them may be left: no row, no
 * reservation, no blob, no part, no temporary file, no descriptor.
 */
export function abortedUploads(count: number, open: () => Promise<BlobStore | undefined>): void {
  let scene: Scene;
  let backing: BlobStore | undefined;
  const closers: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    backing = await open();
    const kit = await createUploadKit({
      ...(backing ? { backing } : {}),
      outbound: { ports: everyPort, allow: ['127.0.0.1'] },
    });
    closers.push(() => kit.close());
    // Begins to answer, and is gone.
    const source = await startOddSource((socket) => {
      socket.write(answerOf(200, ['Content-Length: 100000'], 'x'.repeat(randomInt(1, 90_000))));
      setTimeout(() => socket.destroy(), 5);
    });
    closers.push(() => source.close());
    scene = { ...kit, projectId: await kit.project(), source };
    const runner = createRunner({
      db: kit.db,
      handlers: kit.work.handlers,
      concurrency: 4,
      name: 'aborted',
      log: await createLog({ level: 'silent', pretty: false }),
      pollMs: 25,
      graceMs: 2_000,
      backoff: { firstSeconds: 0.02, factor: 1, longestSeconds: 0.02 },
    });
    runner.start();
    closers.push(() => runner.stop({ drainMs: 0 }));
  }, 60_000);
  afterAll(async () => {
    for (const close of closers.reverse()) await close();
    await backing?.close();
  }, 60_000);

  it(`${count} of them leave nothing`, { timeout: 600_000 }, async () => {
    const ways = Object.entries(waysToFail);
    // Once each: pools are filled, and everything else that stays open is open.
    for (const [, fail] of ways) await fail(scene);
    const before = descriptors();

    const failed: Record<string, number> = {};
    const atOnce = pLimit(16);
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        atOnce(async () => {
          const [name, fail] = ways[index % ways.length]!;
          await fail(scene);
          failed[name] = (failed[name] ?? 0) + 1;
        }),
      ),
    );
    expect(Object.values(failed).reduce((sum, one) => sum + one, 0)).toBe(count);
    // None has become a file.
    const files = await scene.db
      .selectFrom('files')
      .select('id')
      .where('status', 'in', ['processing', 'ready'])
      .execute();
    expect(files).toEqual([]);

    await noImportIsUnderWay(scene);
    // The time of a direct upload counts from the end of its last address.
    await scene.db
      .updateTable('uploads')
      .set({ active_at: sql<Date>`now()` })
      .where('active_at', '>', sql<Date>`now()`)
      .execute();
    // The same database and store, where an upload is given up after a second of silence.
    const impatient = await createUploadKit({
      beside: scene,
      ...(backing ? { backing } : {}),
      uploadStaleSeconds: 1,
      uploadExpirySeconds: 1,
    });
    closers.push(() => impatient.close());
    await expect
      .poll(
        async () => {
          await impatient.cleanup('expire-uploads');
          return { ...(await impatient.leftovers(scene.projectId)), ...(await remembered(scene)) };
        },
        { timeout: 60_000, interval: 500 },
      )
      .toEqual({ ...nothing, uploads: 0, parts: 0 });

    await expect.poll(() => leaked(before), { timeout: 30_000 }).toEqual({ files: [], more: false });
  });

  /** Descriptors of the store, and whether there are more of all kinds than pools may open anew. */
  const leaked = (before: number) => ({
    files: openFiles().filter((path) => path.startsWith(scene.folder)),
    // The second kit's listener and its pool of ten; sixteen connections that are kept alive, at both ends. A way that
    // leaked would leave a tenth of all.
    more: descriptors() > before + count / 12,
  });
}

const waysToFail: Readonly<Record<string, (scene: Scene) => Promise<void>>> = {
  'raw body cut': ({ port, projectId }) =>
    cut(port, `POST /projects/${projectId}/upload?filename=a.bin`, [
      'Content-Type: application/octet-stream',
    ]),
  'form cut': ({ port, projectId }) =>
    cut(
      port,
      `POST /projects/${projectId}/upload`,
      ['Content-Type: multipart/form-data; boundary=b'],
      '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n',
    ),
  'tus begun': async (scene) => {
    await beginTus(scene);
  },
  'tus PATCH cut': async (scene) => {
    const location = await beginTus(scene);
    await cut(scene.port, `PATCH ${new URL(location).pathname}`, [
      'Tus-Resumable: 1.0.0',
      'Content-Type: application/offset+octet-stream',
      'Upload-Offset: 0',
    ]);
  },
  'direct never sent': async (scene) => {
    await beginDirect(scene, { filename: 'a.bin', size: 1000 });
  },
  'direct never completed': async (scene) => {
    const { put } = await beginDirect(scene, { filename: 'a.bin', size: 1000 });
    await send(scene, put, pattern(1000));
  },
  'direct PUT cut': async (scene) => {
    const { put } = await beginDirect(scene, { filename: 'a.bin', size: 8 * mebibyte });
    if (!put) throw new Error('there is no address to put to');
    const { port, pathname, search } = new URL(reachable(scene.url, put.url));
    const headers = Object.entries(put.headers).map(([name, value]) => `${name}: ${value}`);
    await cut(Number(port) || scene.port, `PUT ${pathname}${search}`, headers);
  },
  'parts never completed': async (scene) => {
    const { id } = await beginDirect(scene, { filename: 'a.bin', size: 20 * mebibyte, via: 'multipart' });
    const answer = await post(scene, `uploads/${id}/parts`, { numbers: [1, 2] });
    const { data } = (await answer.json()) as { data: Signed[] };
    await send(scene, data[0], pattern(8 * mebibyte));
  },
  'import whose source stops': async (scene) => {
    const answer = await post(scene, 'import', { url: `http://127.0.0.1:${scene.source.port}/a.bin` });
    expect(answer.status).toBe(202);
    await answer.arrayBuffer();
  },
  'import cancelled': async (scene) => {
    const answer = await post(scene, 'import', { url: `http://127.0.0.1:${scene.source.port}/a.bin` });
    const { id } = (await answer.json()) as { id: string };
    // 409 when it has failed before.
    const cancelled = await fetch(`${scene.url}/projects/${scene.projectId}/imports/${id}`, {
      method: 'DELETE',
    });
    expect([204, 409]).toContain(cancelled.status);
    await cancelled.arrayBuffer();
  },
};

/** Promises many bytes, sends some of them, and is gone. */
async function cut(port: number, line: string, headers: readonly string[], start = ''): Promise<void> {
  const promised = 8 * mebibyte;
  const socket = connect(port, '127.0.0.1');
  // The server may hang up first.
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  const given = headers.filter((header) => !/^(content-length|host):/i.test(header));
  socket.write(
    `${line} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: ${promised}\r\n${given.map((header) => `${header}\r\n`).join('')}\r\n${start}`,
  );
  const sent = randomInt(3) === 0 ? 0 : randomInt(1, 7 * mebibyte);
  await new Promise<void>((resolve) => {
    // A server that does not read on must not keep the client.
    const patience = setTimeout(resolve, 2_000);
    const leave = (): void => {
      clearTimeout(patience);
      resolve();
    };
    socket.once('close', leave);
    socket.write(pattern(sent), leave);
  });
  if (randomInt(2) === 0) socket.resetAndDestroy();
  else socket.destroy();
  await closed;
}

/** The server believes that it is reached under another name. */
const reachable = (url: string, address: string): string => address.replace('http://media.test', url);

async function beginTus({ url, projectId }: Scene): Promise<string> {
  const answer = await fetch(`${url}/projects/${projectId}/tus`, {
    method: 'POST',
    headers: { 'tus-resumable': '1.0.0', 'upload-length': String(8 * mebibyte) },
  });
  await answer.arrayBuffer();
  expect(answer.status).toBe(201);
  return answer.headers.get('location') ?? '';
}

async function beginDirect(scene: Scene, wish: object): Promise<Begun> {
  const answer = await post(scene, 'uploads', wish);
  expect(answer.status).toBe(201);
  return (await answer.json()) as Begun;
}

function post({ url, projectId }: Scene, path: string, body: object): Promise<Response> {
  return fetch(`${url}/projects/${projectId}/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

async function send({ url }: Scene, signed: Signed | undefined, bytes: Buffer): Promise<void> {
  if (!signed) throw new Error('there is no address to put to');
  const answer = await fetch(reachable(url, signed.url), {
    method: signed.method,
    headers: signed.headers,
    body: new Uint8Array(bytes),
  });
  await answer.arrayBuffer();
  expect(answer.status).toBe(200);
}

/** Rows of uploads of several requests; those that are over are made old, so that they are forgotten now. */
async function remembered({ db }: Scene): Promise<{ uploads: number; parts: number }> {
  await db
    .updateTable('uploads')
    .set({ active_at: sql<Date>`now() - interval '3 days'` })
    .where('status', 'not in', ['open', 'completing', 'verifying'])
    .execute();
  const uploads = await db.selectFrom('uploads').select('id').execute();
  const parts = await db.selectFrom('upload_parts').select('number').execute();
  return { uploads: uploads.length, parts: parts.length };
}

async function noImportIsUnderWay({ db }: Scene): Promise<void> {
  const count = async (): Promise<number> =>
    (await db.selectFrom('imports').select('id').where('status', 'in', ['waiting', 'running']).execute())
      .length;
  await expect.poll(count, { timeout: 120_000, interval: 200 }).toBe(0);
}

function openFiles(): readonly string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // That of the listing itself.
      return [];
    }
  });
}

function descriptors(): number {
  return openFiles().length;
}
