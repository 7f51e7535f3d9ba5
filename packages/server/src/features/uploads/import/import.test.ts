import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';

import { afterEach, describe, expect, it, vi } from 'vitest';

import { noise } from '../../../../test/fixtures/noise.js';
import { answerOf, startOddSource, wholeAnswer, type OddSource } from '../../../../test/odd-source.js';
import { nothing, type UploadKitOptions } from '../../../../test/upload-kit.js';
import { StoreUnavailable } from '../../../foundation/blobs/blob-store.js';
import { createImportScene, names, type ImportScene } from './import.suite.js';

let scene: ImportScene;
let sources: OddSource[] = [];
afterEach(async () => {
  await scene.close();
  await Promise.all(sources.map((source) => source.close()));
  sources = [];
});

async function start(options: UploadKitOptions = {}, settings: Record<string, unknown> = {}): Promise<void> {
  scene = await createImportScene(options, settings);
}

async function sourceOf(answer: Parameters<typeof startOddSource>[0]): Promise<OddSource> {
  const source = await startOddSource(answer);
  sources.push(source);
  return source;
}

const always = (text: string) => (socket: Socket) => void socket.write(text);
const bytes = noise(300_000);
const sends =
  (fields: readonly string[] = [], body: Buffer = bytes) =>
  (socket: Socket) => {
    socket.write(answerOf(200, [`Content-Length: ${body.length}`, ...fields]));
    socket.write(body);
  };
const notPublic = 'The host of the URL is unknown or has an address that is not public.';

async function row(id: string) {
  return scene.db.selectFrom('imports').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}
async function jobs(): Promise<string[]> {
  const waiting = await scene.db.selectFrom('waiting_jobs').select('kind').execute();
  const running = await scene.db.selectFrom('running_jobs').select('kind').execute();
  return [...waiting, ...running].map(({ kind }) => kind).filter((kind) => kind === 'import-file');
}
const states = async () =>
  (
    await scene.db.selectFrom('finished_jobs').select('state').where('kind', '=', 'import-file').execute()
  ).map(({ state }) => state);

describe('an import', () => {
  it('becomes a file, and its secrets are forgotten', async () => {
    await start();
    const source = await sourceOf(sends(['Content-Type: image/png']));
    const url = `http://127.0.0.1:${source.port}/folder/noise.bin?token=hush#part`;
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const answer = await scene.order({ url, sha256: sha256.toUpperCase(), metadata: { a: [1, 'b'] } });
    expect(answer.status).toBe(202);
    const ordered = (await answer.json()) as { id: string };
    expect(ordered).toMatchObject({
      projectId: scene.projectId,
      status: 'waiting',
      url: `http://127.0.0.1:${source.port}/folder/noise.bin`,
      receivedBytes: 0,
      totalBytes: null,
      file: null,
      failure: null,
    });
    expect(answer.headers.get('location')).toBe(
      `http://media.test/projects/${scene.projectId}/imports/${ordered.id}`,
    );
    expect(JSON.stringify(await scene.db.selectFrom('waiting_jobs').selectAll().execute())).not.toContain(
      'hush',
    );

    scene.run();
    const ended = await scene.ended(ordered.id);
    expect(ended).toMatchObject({
      status: 'completed',
      receivedBytes: bytes.length,
      totalBytes: bytes.length,
      failure: null,
      file: { filename: 'noise.bin', size: bytes.length, sha256, metadata: { a: [1, 'b'] } },
    });
    expect(source.requests).toHaveLength(1);
    expect(source.requests[0]).toMatch(/^GET \/folder\/noise\.bin\?token=hush HTTP/);
    expect(JSON.stringify(await row(ordered.id))).not.toContain('hush');
    const file = await scene.db.selectFrom('files').selectAll().executeTakeFirstOrThrow();
    expect(file).toMatchObject({
      declared_type: 'image/png',
      created_by_user: scene.userId,
      status: 'ready',
    });
    expect(bytes.equals(await buffer((await scene.blobs.get(file.s3_key)).body))).toBe(true);
    expect(await scene.usage(scene.projectId)).toEqual({
      bytes: bytes.length,
      files: 1,
      reserved: 0,
      reservedFiles: 0,
    });
    await vi.waitFor(async () => expect(await states()).toEqual(['done']));
  });

  it.each<[string, string, readonly string[], object, string]>([
    [
      'the client',
      '/a.bin',
      ['Content-Disposition: attachment; filename="b.txt"'],
      { filename: 'x/c.md' },
      'c.md',
    ],
    ['the source', '/a.bin', ['Content-Disposition: attachment; filename="b.txt"'], {}, 'b.txt'],
    [
      'the source in UTF-8',
      '/a',
      [`Content-Disposition: inline; filename*=UTF-8''gr%C3%BCn.txt`],
      {},
      'grün.txt',
    ],
    [
      'the source, as a path',
      '/a',
      ['Content-Disposition: attachment; filename="../../etc/passwd"'],
      {},
      'passwd',
    ],
    ['a source that cannot be read', '/a.bin', ['Content-Disposition: ;;filename=b;='], {}, 'a.bin'],
    ['the path', '/folder/gr%C3%BCn%20.bin', [], {}, 'grün .bin'],
    ['a path with broken signs', '/100%.bin', [], {}, '100%.bin'],
    ['a path that hides a folder', '/a%2f..%2fb', [], {}, 'b'],
    ['nobody', '/', [], {}, 'file'],
  ])('is named by %s', async (_name, path, fields, more, expected) => {
    await start();
    const source = await sourceOf(always(wholeAnswer('hello', fields)));
    const id = await scene.begin(source, path, more);
    scene.run();
    expect((await scene.ended(id)).file?.filename).toBe(expected);
  });

  it('follows redirects, and keeps the name that was asked for', async () => {
    await start();
    const source = await sourceOf((socket, head) =>
      socket.write(
        head.startsWith('GET /kept.txt ')
          ? answerOf(302, ['Location: /0a1b2c', 'Content-Length: 0', 'Set-Cookie: a=b'])
          : wholeAnswer('there'),
      ),
    );
    const id = await scene.begin(source, '/kept.txt');
    scene.run();
    expect(await scene.ended(id)).toMatchObject({
      status: 'completed',
      file: { filename: 'kept.txt', size: 5 },
    });
  });

  it('of unknown length, or of nothing, is taken too', async () => {
    await start();
    const chunked = await sourceOf(
      always(answerOf(200, ['Transfer-Encoding: chunked'], '3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n')),
    );
    const empty = await sourceOf(always(wholeAnswer('')));
    const ids = [await scene.begin(chunked), await scene.begin(empty)];
    scene.run();
    const ended = await Promise.all(ids.map((id) => scene.ended(id)));
    expect(ended.map(({ file, totalBytes }) => [file?.size, totalBytes])).toEqual([
      [5, 5],
      [0, 0],
    ]);
  });

  it('tells how far it is, and holds its room meanwhile', async () => {
    await start();
    const source = await sourceOf((socket) => {
      socket.write(answerOf(200, [`Content-Length: ${bytes.length}`]));
      let at = 0;
      const timer = setInterval(() => {
        if (at >= bytes.length) return clearInterval(timer);
        socket.write(bytes.subarray(at, (at += 20_000)));
      }, 120);
      socket.on('close', () => clearInterval(timer));
    });
    const id = await scene.begin(source);
    scene.run();
    await vi.waitUntil(async () => (await scene.see(id)).receivedBytes > 0, {
      timeout: 10_000,
      interval: 50,
    });
    const seen = await scene.see(id);
    expect(seen).toMatchObject({ status: 'running', totalBytes: bytes.length, file: null });
    expect(seen.receivedBytes).toBeLessThan(bytes.length);
    expect(await scene.usage(scene.projectId)).toMatchObject({
      bytes: 0,
      reserved: bytes.length,
      reservedFiles: 1,
    });
    expect(await scene.ended(id)).toMatchObject({ status: 'completed', receivedBytes: bytes.length });
  });

  it('keeps its row alive while its source is silent', async () => {
    await start({
      heartbeatMs: 50,
      uploadStaleSeconds: 0.5,
      outbound: { pace: { idleTimeoutMs: 5_000, minBytesPerSecond: 0 } },
    });
    let open: Socket | undefined;
    const source = await sourceOf((socket) => {
      socket.write(answerOf(200, [`Content-Length: ${bytes.length}`]));
      socket.write(bytes.subarray(0, 100_000));
      open = socket;
    });
    const id = await scene.begin(source);
    scene.run();
    await vi.waitFor(async () => expect((await scene.usage(scene.projectId)).reserved).toBe(bytes.length));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await scene.cleanup('expire-uploads');
    open?.write(bytes.subarray(100_000));
    expect(await scene.ended(id)).toMatchObject({ status: 'completed' });
    expect(source.requests).toHaveLength(1);
  });
});

describe('an order', () => {
  it.each([
    ['http://127.0.0.1/', 422, 'import-refused', notPublic],
    ['http://[::1]/', 422, 'import-refused', notPublic],
    ['http://2130706433/', 422, 'import-refused', notPublic],
    ['http://169.254.169.254/latest/meta-data/', 422, 'import-refused', notPublic],
    ['http://[64:ff9b::7f00:1]/', 422, 'import-refused', notPublic],
    ['http://a.test:8080/', 422, 'import-refused', 'The URL names a port that is not allowed.'],
    ['http://user:hush@a.test/', 422, 'import-refused', 'The URL holds a user name or a password.'],
    ['file:///etc/passwd', 422, 'import-refused', 'The URL is neither http nor https.'],
    ['/etc/passwd', 400, 'invalid-request', 'The url is no URL.'],
    ['http://[fe80::1%25lo]/', 400, 'invalid-request', 'The url is no URL.'],
  ])('for %s is answered %i', async (url, status, code, detail) => {
    await start({ outbound: { ports: ['80', '443'], allow: [] } });
    const answer = await scene.order({ url });
    expect(answer.status).toBe(status);
    const body = await answer.text();
    expect(JSON.parse(body)).toMatchObject({ code, detail, errors: [{ pointer: '/url' }] });
    expect(body).not.toContain('hush');
    expect(await jobs()).toEqual([]);
  });

  it.each<[object, string]>([
    [{}, ''],
    [{ url: 7 }, '/url'],
    [{ url: `http://a.test/${'a'.repeat(8192)}` }, '/url'],
    [{ url: 'http://a.test/', filename: '' }, '/filename'],
    [{ url: 'http://a.test/', sha256: 'abc' }, '/sha256'],
    [{ url: 'http://a.test/', metadata: [] }, '/metadata'],
    [{ url: 'http://a.test/', metadata: { a: '\0' } }, '/metadata'],
    [{ url: 'http://a.test/', owner: 'me' }, ''],
  ])('%# is not valid', async (body, pointer) => {
    await start();
    const answer = await scene.order(body);
    expect(answer.status).toBe(400);
    const problem = (await answer.json()) as { errors: { pointer: string }[] };
    expect(problem.errors[0]?.pointer).toContain(pointer);
  });

  it('is the same one under the same Idempotency-Key', async () => {
    await start();
    const key = { 'idempotency-key': '"one"' };
    const order = { url: 'http://127.0.0.1:1/a?b', metadata: { a: 1 } };
    const answers = await Promise.all(Array.from({ length: 5 }, () => scene.order(order, key)));
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202, 202, 202]);
    const ids = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as { id: string }).id),
    );
    expect(new Set(ids).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(4);
    expect(await jobs()).toHaveLength(1);
    for (const other of [
      { ...order, url: 'http://127.0.0.1:1/a?c' },
      { ...order, metadata: { a: 2 } },
    ]) {
      const answer = await scene.order(other, key);
      expect([answer.status, await answer.json()]).toMatchObject([422, { code: 'idempotency-key-reused' }]);
    }
  });

  it('is one of a thousand at most', async () => {
    await start();
    await scene.testDatabase.database.pool.query(
      `INSERT INTO imports (id, project_id, url, shown_url)
       SELECT gen_random_uuid(), $1, 'http://a.test/', 'http://a.test/' FROM generate_series(1, 1000)`,
      [scene.projectId],
    );
    const answer = await scene.order({ url: 'http://127.0.0.1:1/' });
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('60');
    expect(await answer.json()).toMatchObject({ code: 'too-many-requests', limit: 1000 });
    expect(await jobs()).toEqual([]);
  });

  it('is listed, newest first', async () => {
    await start();
    const ids = [];
    for (const path of ['a', 'b', 'c']) {
      const answer = await scene.order({ url: `http://127.0.0.1:1/${path}?hush` });
      ids.unshift(((await answer.json()) as { id: string }).id);
    }
    const list = async (query: string) => {
      const text = await (await fetch(`${scene.url}/projects/${scene.projectId}/imports${query}`)).text();
      expect(text).not.toContain('hush');
      return JSON.parse(text) as { data: { id: string }[]; nextCursor: string | null };
    };
    const first = await list('?limit=2');
    expect(first.data.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    const second = await list(`?limit=2&cursor=${first.nextCursor}`);
    expect([second.data.map(({ id }) => id), second.nextCursor]).toEqual([ids.slice(2), null]);
    const other = await scene.project();
    const foreign = await fetch(`${scene.url}/projects/${other}/imports/${ids[0]}`);
    expect(foreign.status).toBe(404);
  });
});

describe('a refusal ends an import at once and leaves nothing:', () => {
  const html = '<!doctype html><title>Not found</title>';
  it.each<
    [
      string,
      (socket: Socket, head: string) => unknown,
      Record<string, unknown>,
      object,
      string,
      string | RegExp,
    ]
  >([
    [
      '404',
      always(answerOf(404, ['Content-Length: 0'])),
      {},
      {},
      'import-failed',
      'The source answered with status 404.',
    ],
    [
      '206',
      always(answerOf(206, ['Content-Length: 1', 'Content-Range: bytes 0-0/2'], 'a')),
      {},
      {},
      'import-failed',
      /206/,
    ],
    ['304', always(answerOf(304, [])), {}, {}, 'import-failed', /304/],
    [
      'a coded body',
      always(wholeAnswer('abc', ['Content-Encoding: gzip'])),
      {},
      {},
      'import-failed',
      /coding/,
    ],
    [
      'an error page',
      always(wholeAnswer(html, ['Content-Type: image/jpeg'])),
      { allowedTypes: ['image/*'] },
      {},
      'type-not-allowed',
      /text\/html/,
    ],
    [
      'too large, as it says',
      always(answerOf(200, ['Content-Length: 99999'])),
      { quota: { bytesPerUpload: 10_000 } },
      {},
      'file-too-large',
      /10000/,
    ],
    [
      'too large, in chunks',
      (socket) => {
        socket.write(answerOf(200, ['Transfer-Encoding: chunked']));
        for (let at = 0; at < 20; at += 1) socket.write(`3e8\r\n${'a'.repeat(1000)}\r\n`);
      },
      { quota: { bytesPerUpload: 10_000 } },
      {},
      'file-too-large',
      /10000/,
    ],
    ['over the quota, as it says', sends(), { quota: { bytes: 200_000 } }, {}, 'quota-exceeded', /200000/],
    [
      'over the quota, in chunks',
      (socket) => {
        socket.write(answerOf(200, ['Transfer-Encoding: chunked']));
        for (let at = 0; at < 30; at += 1)
          socket.write(Buffer.concat([Buffer.from('2710\r\n'), noise(10_000), Buffer.from('\r\n')]));
        socket.write('0\r\n\r\n');
      },
      { quota: { bytes: 200_000 } },
      {},
      'quota-exceeded',
      /200000/,
    ],
    ['other bytes', sends(), {}, { sha256: '0'.repeat(64) }, 'digest-mismatch', /SHA-256/],
    [
      'a redirect inwards',
      always(answerOf(302, ['Location: http://10.0.0.1/', 'Content-Length: 0'])),
      {},
      {},
      'import-refused',
      notPublic,
    ],
    [
      'a redirect to a name inside',
      always(answerOf(302, ['Location: http://inner.test/', 'Content-Length: 0'])),
      {},
      {},
      'import-refused',
      notPublic,
    ],
    [
      'a redirect to no name',
      always(answerOf(302, ['Location: http://nowhere.test/', 'Content-Length: 0'])),
      {},
      {},
      'import-refused',
      notPublic,
    ],
    [
      'a redirect in a circle',
      always(answerOf(302, ['Location: /a', 'Content-Length: 0'])),
      {},
      {},
      'import-failed',
      /more than 5/,
    ],
  ])('%s', async (_name, answer, settings, more, code, detail) => {
    await start({ outbound: { lookup: names({ 'inner.test': ['10.0.0.1'] }) } }, settings);
    const source = await sourceOf(answer);
    const id = await scene.begin(source, '/a.bin?hush', more);
    scene.run();
    const ended = await scene.ended(id);
    expect(ended).toMatchObject({ status: 'failed', file: null, failure: { code } });
    expect(ended.failure?.detail).toMatch(detail);
    await vi.waitFor(async () => expect(await states()).toEqual(['done']));
    expect(source.requests.length).toBe(code === 'import-failed' && /5/.test(String(detail)) ? 6 : 1);
    expect(await row(id)).toMatchObject({ url: null, file_id: null });
    expect(await scene.leftovers(scene.projectId)).toEqual(nothing);
    await vi.waitFor(() => expect(source.connections()).toBe(0));
  });

  it('a host with a public and a private address, like one that is not there', async () => {
    await start({
      outbound: { lookup: names({ 'both.test': ['93.184.216.34', '10.0.0.1'], 'inner.test': ['::1'] }) },
    });
    scene.run();
    for (const host of ['both.test', 'inner.test', 'nowhere.test']) {
      const answer = await scene.order({ url: `http://${host}/` });
      const { id } = (await answer.json()) as { id: string };
      const ended = await scene.ended(id);
      expect(ended.failure).toEqual({ code: 'import-refused', detail: notPublic });
    }
    expect(new Set(await states())).toEqual(new Set(['done']));
  });

  it('a source that takes too long', async () => {
    await start({ importTimeoutMs: 400 });
    const source = await sourceOf((socket) => {
      socket.write(answerOf(200, ['Content-Length: 1000000']));
      const timer = setInterval(() => socket.write(noise(1000)), 10);
      socket.on('close', () => clearInterval(timer));
    });
    const id = await scene.begin(source);
    scene.run();
    const ended = await scene.ended(id);
    expect(ended.failure).toMatchObject({
      code: 'import-failed',
      detail: expect.stringContaining('took longer'),
    });
    expect(source.requests).toHaveLength(1);
    expect(await scene.leftovers(scene.projectId)).toEqual(nothing);
  });
});

describe('what may pass is tried again', () => {
  const half = (socket: Socket) =>
    socket.write(
      Buffer.concat([
        Buffer.from(answerOf(200, [`Content-Length: ${bytes.length}`])),
        bytes.subarray(0, 150_000),
      ]),
      () => socket.end(),
    );

  it.each<[string, (socket: Socket) => unknown]>([
    ['an answer 503', always(answerOf(503, ['Content-Length: 0']))],
    ['a lost connection', (socket) => socket.resetAndDestroy()],
    ['a cut body', half],
    [
      'a body that stops',
      (socket) => socket.write(answerOf(200, [`Content-Length: ${bytes.length}`], 'a'.repeat(9000))),
    ],
  ])('after %s', async (_name, fails) => {
    await start({ outbound: { pace: { idleTimeoutMs: 200, minBytesPerSecond: 0 } } });
    const source = await sourceOf((socket, _head, number) => (number < 3 ? fails(socket) : sends()(socket)));
    const id = await scene.begin(source);
    scene.run();
    expect(await scene.ended(id)).toMatchObject({
      status: 'completed',
      failure: null,
      file: { size: bytes.length },
    });
    expect(source.requests).toHaveLength(3);
    expect(await scene.usage(scene.projectId)).toMatchObject({
      bytes: bytes.length,
      files: 1,
      reserved: 0,
      reservedFiles: 0,
    });
    const { rows, blobs, tombstones } = await scene.leftovers(scene.projectId);
    expect([rows, blobs.length, tombstones]).toEqual([1, 1, 0]);
  });

  it('five times in all', async () => {
    await start();
    const source = await sourceOf(half);
    const id = await scene.begin(source);
    scene.run();
    expect((await scene.ended(id)).failure).toEqual({
      code: 'import-failed',
      detail: 'The connection to the source broke before the whole file had come.',
    });
    expect(source.requests).toHaveLength(5);
    // No dead letter: nobody here can help a source.
    await vi.waitFor(async () => expect(await states()).toEqual(['done']));
    expect(await scene.leftovers(scene.projectId)).toEqual(nothing);
  });

  it('when it is our own store that fails; at last somebody should look at it', async () => {
    await start({
      store: (real) => ({
        ...real,
        put: async (key, body) => {
          if (!Buffer.isBuffer(body)) body.destroy();
          throw new StoreUnavailable('secret-host: connection refused', key);
        },
      }),
    });
    const source = await sourceOf(sends());
    const id = await scene.begin(source);
    scene.run();
    expect((await scene.ended(id)).failure).toEqual({
      code: 'service-unavailable',
      detail: 'The store did not take the bytes.',
    });
    await vi.waitFor(async () => expect(await states()).toEqual(['dead']));
    expect(source.requests).toHaveLength(5);
    expect(await scene.leftovers(scene.projectId)).toEqual(nothing);
  });
});
