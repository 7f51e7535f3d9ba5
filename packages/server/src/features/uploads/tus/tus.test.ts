import { createHash } from 'node:crypto';
import { connect } from 'node:net';

import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { createUploadKit, type UploadKit } from '../../../../test/upload-kit.js';
import { StoreUnavailable } from '../../../foundation/blobs/blob-store.js';
import { pattern } from '../../../foundation/blobs/contract.suite.js';

const mebibyte = 1024 * 1024;
const offsetType = 'application/offset+octet-stream';
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const base64 = (text: string) => Buffer.from(text).toString('base64');

let kit: UploadKit;
let project: string;
beforeAll(async () => {
  kit = await createUploadKit();
  project = await kit.project();
});
afterEach(async () => {
  // Whatever a test does, no request of it is left holding a lock.
  await expect.poll(heldLocks).toBe(0);
});
afterAll(() => kit.close());

type Fields = Record<string, string>;

const call = (method: string, path: string, fields: Fields = {}, body?: Buffer): Promise<Response> =>
  fetch(new URL(path.replace('http://media.test', kit.url), kit.url), {
    method,
    headers: { 'tus-resumable': '1.0.0', ...fields },
    ...(body ? { body: new Uint8Array(body) } : {}),
  });

async function begin(fields: Fields, projectId = project): Promise<string> {
  const answer = await call('POST', `/projects/${projectId}/tus`, fields);
  expect(answer.status).toBe(201);
  return answer.headers.get('location') ?? '';
}
const append = (location: string, offset: number, body: Buffer, fields: Fields = {}) =>
  call('PATCH', location, { 'content-type': offsetType, 'upload-offset': String(offset), ...fields }, body);
const offsetOf = async (location: string) =>
  Number((await call('HEAD', location)).headers.get('upload-offset'));
const heldLocks = async () => {
  const rows = await kit.db.selectFrom('uploads').select('id').where('lock_holder', 'is not', null).execute();
  return rows.length;
};
const codeOf = async (answer: Response) => ((await answer.json()) as { code: string }).code;

async function stored(
  answer: Response,
): Promise<{ sha256: string; size: number; row: Record<string, unknown> }> {
  const id = answer.headers.get('x-file-id') ?? '';
  const row = await kit.db.selectFrom('files').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  const { body } = await kit.blobs.get(row.s3_key);
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
  }
  const digest = hash.digest('hex');
  expect(digest).toBe(row.sha256?.toString('hex'));
  expect(size).toBe(row.size);
  return { sha256: digest, size, row };
}

/** Sends a PATCH by hand and breaks the connection after some bytes of the body. */
async function breakOff(location: string, offset: number, body: Buffer, announced: number): Promise<void> {
  const held = async () =>
    (
      await kit.db
        .selectFrom('uploads')
        .select('lock_holder')
        .where('id', '=', location.slice(-36))
        .executeTakeFirstOrThrow()
    ).lock_holder !== null;
  const path = location.replace('http://media.test', '');
  const socket = connect(kit.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(
    `PATCH ${path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Type: ${offsetType}\r\n` +
      `Upload-Offset: ${offset}\r\nContent-Length: ${announced}\r\n\r\n`,
  );
  await new Promise<void>((resolve) => socket.write(body, () => resolve()));
  await expect.poll(held, { timeout: 10_000 }).toBe(true);
  socket.destroy();
  await expect.poll(held, { timeout: 10_000 }).toBe(false);
}

describe('a resumable upload', () => {
  it('tells what the server can do to whoever asks', async () => {
    const answer = await call('OPTIONS', `/projects/${project}/tus`, { 'x-nobody': '1' });
    expect(answer.status).toBe(204);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'tus-resumable': '1.0.0',
      'tus-version': '1.0.0',
      'tus-extension': 'creation,creation-with-upload,creation-defer-length,termination,checksum,expiration',
      'tus-max-size': String(64 * mebibyte),
      'tus-checksum-algorithm': 'sha1,sha256,sha512,md5',
    });
  });

  it('arrives in pieces and becomes a file with its name and metadata', async () => {
    const bytes = pattern(1000);
    const location = await begin({
      'upload-length': '1000',
      'upload-metadata': `filename ${base64('grüße.bin')},filetype ${base64('image/png')},caption ${base64('Ä')},empty`,
    });
    expect(location).toMatch(/^http:\/\/media\.test\/projects\/[0-9a-f-]{36}\/tus\/[0-9a-f-]{36}$/);
    const first = await append(location, 0, bytes.subarray(0, 400));
    expect([first.status, first.headers.get('upload-offset')]).toEqual([204, '400']);
    expect(first.headers.get('x-file-id')).toBeNull();
    expect(Date.parse(first.headers.get('upload-expires') ?? '')).toBeGreaterThan(Date.now() + 3_500_000);
    const described = await call('HEAD', location);
    expect(Object.fromEntries(described.headers)).toMatchObject({
      'upload-offset': '400',
      'upload-length': '1000',
      'upload-metadata': expect.stringContaining('caption'),
      'cache-control': 'no-store',
      'tus-resumable': '1.0.0',
    });
    const last = await append(location, 400, bytes.subarray(400));
    expect([last.status, last.headers.get('upload-offset')]).toEqual([204, '1000']);
    const { sha256: digest, row } = await stored(last);
    expect(digest).toBe(sha256(bytes));
    expect(row).toMatchObject({
      filename: 'grüße.bin',
      declared_type: 'image/png',
      mime_type: 'application/octet-stream',
      metadata: { caption: 'Ä', empty: '' },
      status: 'ready',
      s3_key: `${project}/files/${row['id'] as string}.bin`,
    });
    expect((await call('HEAD', location)).headers.get('x-file-id')).toBe(row['id']);
  });

  it('may be created with its first bytes, all of them, or none at all', async () => {
    const whole = await call(
      'POST',
      `/projects/${project}/tus`,
      { 'upload-length': '5', 'content-type': offsetType },
      Buffer.from('hello'),
    );
    expect([whole.status, whole.headers.get('upload-offset')]).toEqual([201, '5']);
    expect((await stored(whole)).row).toMatchObject({ filename: 'file', mime_type: 'text/plain' });
    const empty = await call('POST', `/projects/${project}/tus`, { 'upload-length': '0' });
    expect(empty.status).toBe(201);
    expect((await stored(empty)).size).toBe(0);
  });

  it.each([8 * mebibyte - 1, 8 * mebibyte, 8 * mebibyte + 1])(
    'of %i bytes is put together from its parts, however it was cut',
    async (size) => {
      const bytes = pattern(size);
      const location = await begin({ 'upload-length': String(size) });
      let offset = 0;
      let answer = new Response();
      for (const length of [3, 5 * mebibyte, 4 * mebibyte + 1, size]) {
        const piece = bytes.subarray(offset, offset + length);
        if (piece.length === 0) break;
        answer = await append(location, offset, piece);
        expect(answer.status).toBe(204);
        offset += piece.length;
        expect(answer.headers.get('upload-offset')).toBe(String(offset));
      }
      expect((await stored(answer)).sha256).toBe(sha256(bytes));
      expect(await kit.leftovers(project)).toMatchObject({
        temporaries: [],
        reservedBytes: 0,
        reservedFiles: 0,
      });
    },
  );

  it('keeps what arrived before the connection broke', async () => {
    const size = 20 * mebibyte;
    const bytes = pattern(size);
    const location = await begin({ 'upload-length': String(size) });
    let offset = 0;
    for (const length of [0, 1, 10 * mebibyte, 3 * mebibyte]) {
      await breakOff(location, offset, bytes.subarray(offset, offset + length), size - offset);
      expect(await offsetOf(location)).toBe(offset + length);
      offset += length;
    }
    await breakOff(location, offset, bytes.subarray(offset, size - 1), size - offset);
    expect(await offsetOf(location)).toBe(size - 1);
    const answer = await append(location, size - 1, bytes.subarray(size - 1));
    expect((await stored(answer)).sha256).toBe(sha256(bytes));
  });

  it('may tell its length when it knows it', async () => {
    const bytes = pattern(9 * mebibyte);
    const location = await begin({ 'upload-defer-length': '1' });
    expect((await append(location, 0, bytes.subarray(0, 5 * mebibyte))).status).toBe(204);
    expect((await call('HEAD', location)).headers.get('upload-defer-length')).toBe('1');
    expect((await append(location, 5 * mebibyte, bytes.subarray(5 * mebibyte))).status).toBe(204);
    const fields = { 'upload-length': String(bytes.length) };
    const answer = await append(location, bytes.length, Buffer.alloc(0), fields);
    expect(answer.status).toBe(204);
    expect((await stored(answer)).sha256).toBe(sha256(bytes));
    const again = await begin({ 'upload-defer-length': '1' });
    await append(again, 0, Buffer.from('abc'), { 'upload-length': '6' });
    expect((await append(again, 3, Buffer.from('d'), { 'upload-length': '7' })).status).toBe(400);
    expect((await append(again, 3, Buffer.from('def'), { 'upload-length': '6' })).status).toBe(204);
  });

  it('is verified piece by piece when its client wants that', async () => {
    const location = await begin({ 'upload-length': '11' });
    const digest = (algorithm: string, text: string) =>
      `${algorithm} ${createHash(algorithm).update(text).digest('base64')}`;
    const good = await append(location, 0, Buffer.from('hello '), {
      'upload-checksum': digest('sha1', 'hello '),
    });
    expect(good.status).toBe(204);
    const bad = await append(location, 6, Buffer.from('wurld'), {
      'upload-checksum': digest('md5', 'world'),
    });
    expect([bad.status, await codeOf(bad)]).toEqual([460, 'checksum-mismatch']);
    expect(await offsetOf(location)).toBe(6);
    const odd = await append(location, 6, Buffer.from('world'), { 'upload-checksum': 'crc9 AAAA' });
    expect(odd.status).toBe(400);
    const last = await append(location, 6, Buffer.from('world'), {
      'upload-checksum': digest('sha256', 'world'),
    });
    expect((await stored(last)).sha256).toBe(sha256(Buffer.from('hello world')));
  });

  it('throws away all of a large piece whose checksum is wrong', async () => {
    const bytes = pattern(10 * mebibyte);
    const location = await begin({ 'upload-length': String(bytes.length) });
    const wrong = { 'upload-checksum': `sha256 ${Buffer.alloc(32).toString('base64')}` };
    expect((await append(location, 0, bytes.subarray(0, 9 * mebibyte), wrong)).status).toBe(460);
    expect(await offsetOf(location)).toBe(0);
    const answer = await append(location, 0, bytes);
    expect((await stored(answer)).sha256).toBe(sha256(bytes));
  });

  it('is refused at its end when it is not what was promised', async () => {
    const location = await begin({
      'upload-length': '5',
      'upload-metadata': `sha256 ${base64(sha256(Buffer.from('other')))}`,
    });
    const answer = await append(location, 0, Buffer.from('hello'));
    expect([answer.status, await codeOf(answer)]).toEqual([422, 'digest-mismatch']);
    const later = await call('HEAD', location);
    expect(later.status).toBe(410);
  });

  it('ends when its bytes are of a type that the project does not take', async () => {
    const pictures = await kit.project({ allowedTypes: ['image/*'] });
    const location = await begin({ 'upload-length': '100' }, pictures);
    const answer = await append(location, 0, Buffer.alloc(100, 'a'));
    expect([answer.status, await codeOf(answer)]).toEqual([415, 'type-not-allowed']);
    const again = await append(location, 0, Buffer.alloc(100, 'a'));
    expect([again.status, await codeOf(again)]).toEqual([410, 'upload-gone']);
    expect(await kit.leftovers(pictures)).toMatchObject({
      rows: 0,
      blobs: [],
      reservedBytes: 0,
      reservedFiles: 0,
    });
  });

  it('may be terminated by its client, and gives everything back', async () => {
    const own = await kit.project();
    const location = await begin({ 'upload-length': String(20 * mebibyte) }, own);
    await append(location, 0, pattern(9 * mebibyte));
    expect(await kit.usage(own)).toMatchObject({ reserved: 20 * mebibyte, reservedFiles: 1 });
    expect((await call('DELETE', location)).status).toBe(204);
    const later = await append(location, 9 * mebibyte, Buffer.from('x'));
    expect([later.status, await codeOf(later)]).toEqual([410, 'upload-gone']);
    expect((await call('DELETE', location)).status).toBe(410);
    expect(await kit.leftovers(own)).toEqual({
      rows: 0,
      blobs: [],
      temporaries: [],
      reservedBytes: 0,
      reservedFiles: 0,
      tombstones: 0,
    });
    const unfinished = [];
    for await (const one of kit.blobs.multipart.list(`${own}/`)) unfinished.push(one);
    expect(unfinished).toEqual([]);
  });

  it('does not speak through other methods than it says, except by override', async () => {
    const location = await begin({ 'upload-length': '5' });
    const fields = { 'content-type': offsetType, 'upload-offset': '0', 'x-http-method-override': 'PATCH' };
    const answer = await call('POST', location, fields, Buffer.from('hello'));
    expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, '5']);
    expect((await call('POST', location, { 'x-http-method-override': 'PUT' })).status).toBe(405);
    expect((await call('POST', location)).status).toBe(405);
  });
});

describe('an upload and several processes', () => {
  let other: UploadKit;
  beforeAll(async () => {
    other = await createUploadKit({ beside: kit });
  });
  afterAll(() => other.close());
  const through = (which: UploadKit, location: string) => location.replace('http://media.test', which.url);

  it('goes on in any of them', async () => {
    const bytes = pattern(13 * mebibyte + 7);
    const location = await begin({ 'upload-length': String(bytes.length) });
    let answer = new Response();
    for (let offset = 0, turn = 0; offset < bytes.length; offset += 4 * mebibyte, turn++) {
      const piece = bytes.subarray(offset, offset + 4 * mebibyte);
      answer = await append(through(turn % 2 === 0 ? kit : other, location), offset, piece);
      expect(answer.status).toBe(204);
    }
    expect((await stored(answer)).sha256).toBe(sha256(bytes));
  });

  it.each(['the same process', 'another process'])(
    'is let go by a request whose connection is dead when its client comes back to %s',
    async (where) => {
      const location = await begin({ 'upload-length': '100' });
      const socket = connect(kit.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(
        `PATCH ${location.replace('http://media.test', '')} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n` +
          `Content-Type: ${offsetType}\r\nUpload-Offset: 0\r\nContent-Length: 100\r\n\r\nhello`,
      );
      await expect.poll(heldLocks).toBe(1);
      const target = through(where === 'the same process' ? kit : other, location);
      const described = await call('HEAD', target);
      expect(described.headers.get('upload-offset')).toBe('5');
      const answer = await append(target, 5, Buffer.alloc(95));
      expect([answer.status, answer.headers.get('upload-offset')]).toEqual([204, '100']);
      socket.destroy();
    },
  );

  it('is free again when the process that held it has died', async () => {
    const location = await begin({ 'upload-length': '5' });
    const id = location.slice(-36);
    await kit.db
      .updateTable('uploads')
      .set({ lock_holder: '0190a5f0-0000-7000-8000-000000000009', lock_until: new Date(Date.now() - 1) })
      .where('id', '=', id)
      .execute();
    expect((await append(location, 0, Buffer.from('hello'))).status).toBe(204);
  });
});

describe('what goes wrong', () => {
  it('after the last byte is made good by the job', async () => {
    const failing = await createUploadKit({
      beside: kit,
      planVariants: () => Promise.reject(new Error('the database is gone')),
    });
    try {
      for (const size of [5, 9 * mebibyte]) {
        const bytes = pattern(size);
        const location = await begin({ 'upload-length': String(size) });
        const path = location.replace('http://media.test', failing.url);
        const answer = await append(path, 0, bytes);
        expect([answer.status, answer.headers.get('x-file-id')]).toEqual([204, null]);
        expect((await call('DELETE', location)).status).toBe(409);
        await kit.finishUploads();
        expect((await stored(await call('HEAD', location))).sha256).toBe(sha256(bytes));
        // What came too late to a finished upload changes nothing.
        expect((await append(location, size, Buffer.alloc(0))).headers.get('x-file-id')).not.toBeNull();
        expect((await append(location, 0, bytes)).status).toBe(409);
      }
    } finally {
      await failing.close();
    }
  });

  it('in the store fails the request, keeps what is safe, and the client goes on', async () => {
    let broken = false;
    const failing = await createUploadKit({
      beside: kit,
      store: (real) => ({
        ...real,
        multipart: {
          ...real.multipart,
          put: (key, uploadId, number, body, options) =>
            broken && number === 2
              ? Promise.reject(new StoreUnavailable('the store is gone', key))
              : real.multipart.put(key, uploadId, number, body, options),
        },
      }),
    });
    try {
      const bytes = pattern(20 * mebibyte);
      const location = await begin({ 'upload-length': String(bytes.length) });
      const path = location.replace('http://media.test', failing.url);
      broken = true;
      const answer = await append(path, 0, bytes);
      expect([answer.status, await codeOf(answer)]).toEqual([503, 'service-unavailable']);
      expect(await offsetOf(location)).toBe(8 * mebibyte);
      broken = false;
      const rest = await append(path, 8 * mebibyte, bytes.subarray(8 * mebibyte));
      expect((await stored(rest)).sha256).toBe(sha256(bytes));
    } finally {
      await failing.close();
    }
  });

  it('ends with its expiry: row, parts, tail and reservation', async () => {
    const own = await kit.project();
    const location = await begin({ 'upload-length': String(20 * mebibyte) }, own);
    await append(location, 0, pattern(9 * mebibyte));
    await kit.cleanup('expire-uploads');
    expect(await offsetOf(location)).toBe(9 * mebibyte);
    await kit.db
      .updateTable('uploads')
      .set({ active_at: new Date(Date.now() - 3_700_000) })
      .where('project_id', '=', own)
      .execute();
    await kit.cleanup('expire-uploads');
    expect((await call('HEAD', location)).status).toBe(410);
    const left = await kit.leftovers(own);
    expect({ ...left, blobs: left.blobs.filter((key) => key.startsWith(own)) }).toEqual({
      rows: 0,
      blobs: [],
      temporaries: [],
      reservedBytes: 0,
      reservedFiles: 0,
      tombstones: 0,
    });
    await kit.db
      .updateTable('uploads')
      .set({ active_at: new Date(Date.now() - 90_000_000) })
      .where('project_id', '=', own)
      .execute();
    await kit.cleanup('expire-uploads');
    expect((await call('HEAD', location)).status).toBe(404);
  });

  it('a hundred times leaves nothing', async () => {
    const own = await kit.project();
    const size = 100_000;
    const bytes = pattern(size);
    for (let round = 0; round < 100; round += 20) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const location = await begin({ 'upload-length': String(size) }, own);
          await breakOff(location, 0, bytes.subarray(0, [0, 1, size / 2, size - 1][index % 4]), size);
        }),
      );
    }
    await kit.db
      .updateTable('uploads')
      .set({ active_at: new Date(Date.now() - 3_700_000) })
      .where('project_id', '=', own)
      .where('lock_holder', 'is', null)
      .execute();
    await expect
      .poll(
        async () => {
          await kit.db
            .updateTable('uploads')
            .set({ active_at: new Date(Date.now() - 3_700_000) })
            .where('project_id', '=', own)
            .where('status', '=', 'open')
            .execute();
          await kit.cleanup('expire-uploads');
          const left = await kit.leftovers(own);
          return { ...left, blobs: left.blobs.length };
        },
        { timeout: 10_000 },
      )
      .toEqual({ rows: 0, blobs: 0, temporaries: [], reservedBytes: 0, reservedFiles: 0, tombstones: 0 });
  });

  it('is survived by uploads cut at any place', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 5 * mebibyte }), { minLength: 3, maxLength: 5 }),
        async (lengths) => {
          const size = lengths.reduce((sum, length) => sum + length, 0);
          const bytes = pattern(size);
          const location = await begin({ 'upload-length': String(size) });
          let offset = 0;
          let answer = new Response();
          for (const length of lengths) {
            answer = await append(location, offset, bytes.subarray(offset, offset + length));
            offset += length;
          }
          expect((await stored(answer)).sha256).toBe(sha256(bytes));
        },
      ),
      { numRuns: 2, seed: 7 },
    );
  });
});

describe('requests that break the protocol', () => {
  it.each<[string, Fields, number, string]>([
    ['no length', {}, 400, 'invalid-request'],
    ['two lengths', { 'upload-length': '1', 'upload-defer-length': '1' }, 400, 'invalid-request'],
    ['a deferred length that is no 1', { 'upload-defer-length': '0' }, 400, 'invalid-request'],
    ['a negative length', { 'upload-length': '-1' }, 400, 'invalid-request'],
    ['a length beyond counting', { 'upload-length': '99999999999999999' }, 400, 'invalid-request'],
    ['a length that is too large', { 'upload-length': String(65 * mebibyte) }, 413, 'file-too-large'],
    ['another version', { 'upload-length': '1', 'tus-resumable': '0.2.2' }, 412, 'unsupported-tus-version'],
    ['a concatenation', { 'upload-length': '1', 'upload-concat': 'partial' }, 400, 'invalid-request'],
    [
      'metadata that is no Base64',
      { 'upload-length': '1', 'upload-metadata': 'a !' },
      400,
      'invalid-request',
    ],
    ['a key twice', { 'upload-length': '1', 'upload-metadata': 'a YQ==,a YQ==' }, 400, 'invalid-request'],
    ['a NUL', { 'upload-length': '1', 'upload-metadata': 'a AA==' }, 400, 'invalid-request'],
    [
      'a sha256 that is none',
      { 'upload-length': '1', 'upload-metadata': 'sha256 YQ==' },
      400,
      'invalid-request',
    ],
  ])('a creation with %s', async (_, fields, status, code) => {
    const answer = await call('POST', `/projects/${project}/tus`, fields);
    expect([answer.status, await codeOf(answer)]).toEqual([status, code]);
    expect(answer.headers.get('tus-resumable')).toBe('1.0.0');
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    if (status === 412) expect(answer.headers.get('tus-version')).toBe('1.0.0');
  });

  it('bytes of another type, from another offset, or more than were announced', async () => {
    const location = await begin({ 'upload-length': '10' });
    const type = await append(location, 0, Buffer.from('a'), { 'content-type': 'text/plain' });
    expect(type.status).toBe(415);
    const offset = await append(location, 3, Buffer.from('a'));
    expect([offset.status, offset.headers.get('upload-offset'), await codeOf(offset)]).toEqual([
      409,
      '0',
      'offset-mismatch',
    ]);
    expect((await append(location, 0, Buffer.from('a'), { 'upload-offset': 'x' })).status).toBe(400);
    const more = await append(location, 0, Buffer.alloc(11));
    expect([more.status, await codeOf(more)]).toEqual([413, 'file-too-large']);
    const version = await append(location, 0, Buffer.from('a'), { 'tus-resumable': '' });
    expect(version.status).toBe(412);
    expect(await offsetOf(location)).toBe(0);
  });

  it('uploads that are not there, or another project’s', async () => {
    const location = await begin({ 'upload-length': '10' });
    const other = await kit.project();
    const elsewhere = location.replace(project, other);
    for (const path of [elsewhere, location.replace(/[^/]+$/, '0190a5f0-0000-7000-8000-000000000001')]) {
      expect((await call('HEAD', path)).status).toBe(404);
      expect((await append(path, 0, Buffer.from('a'))).status).toBe(404);
      expect((await call('DELETE', path)).status).toBe(404);
    }
    expect((await call('HEAD', location, { 'x-nobody': '1' })).status).toBe(401);
    expect((await call('HEAD', location.replace(/[^/]+$/, 'x'))).status).toBe(404);
  });

  it('quota: exactly as many as fit are begun', async () => {
    const small = await kit.project({ quota: { bytes: 10_000 } });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => call('POST', `/projects/${small}/tus`, { 'upload-length': '1500' })),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(6);
    expect(answers.filter(({ status }) => status === 413)).toHaveLength(24);
  });

  it('quota: an upload of unknown length stops where the room ends', async () => {
    const small = await kit.project({ quota: { bytes: 3 * mebibyte } });
    const location = await begin({ 'upload-defer-length': '1' }, small);
    expect((await append(location, 0, Buffer.alloc(2 * mebibyte))).status).toBe(204);
    const more = await append(location, 2 * mebibyte, Buffer.alloc(2 * mebibyte));
    expect([more.status, await codeOf(more)]).toEqual([413, 'quota-exceeded']);
    expect(await offsetOf(location)).toBe(2 * mebibyte);
  });
});
