import { createHash } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createUploadKit, nothing, type UploadKit } from '../../../../test/upload-kit.js';
import { StoreUnavailable } from '../../../foundation/blobs/blob-store.js';
import { pattern } from '../../../foundation/blobs/contract.suite.js';

const mebibyte = 1024 * 1024;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

let kit: UploadKit;
let project: string;
beforeAll(async () => {
  kit = await createUploadKit({ limits: { maxBytes: 128 * mebibyte } });
  project = await kit.project();
});
afterAll(() => kit.close());

interface Signed {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly fields?: Record<string, string>;
}
interface View {
  readonly id: string;
  readonly status: string;
  readonly put?: Signed;
  readonly post?: Signed;
  readonly multipart?: { partBytes: number; partCount: number };
  readonly file: { id: string; sha256: string; size: number; mimeType: string; filename: string } | null;
  readonly failure: { code: string; detail: string } | null;
  readonly code?: string;
}

async function api<T = View>(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: T; headers: Headers }> {
  const answer = await fetch(`${kit.url}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text === '' ? undefined : JSON.parse(text)) as T,
  };
}
const begin = async (body: Record<string, unknown>, id = project): Promise<View> => {
  const answer = await api('POST', `/projects/${id}/uploads`, body);
  expect([answer.status, answer.body.code]).toEqual([201, undefined]);
  return answer.body;
};
const complete = (view: Pick<View, 'id'>, body?: unknown, id = project) =>
  api('POST', `/projects/${id}/uploads/${view.id}/complete`, body ?? {});

/** Sends bytes to a signed address, as any HTTP client would. */
const send = (signed: Signed | undefined, bytes: Buffer, headers: Record<string, string> = {}) =>
  fetch((signed?.url ?? '').replace('http://media.test', kit.url), {
    method: signed?.method ?? 'PUT',
    headers: { ...signed?.headers, ...headers },
    body: new Uint8Array(bytes),
  });

describe('an upload that goes to the store directly', () => {
  it('becomes a file once its bytes have been read', async () => {
    const bytes = Buffer.from('hello, world');
    const view = await begin({
      filename: '../grüße.txt',
      size: bytes.length,
      type: 'image/png',
      sha256: sha256(bytes),
      metadata: { caption: 'Ä' },
    });
    expect(view).toMatchObject({ status: 'open', file: null, put: { method: 'PUT' } });
    expect((await api('GET', `/projects/${project}/uploads/${view.id}`)).body.status).toBe('open');
    const early = await complete(view);
    expect([early.status, early.body.code]).toEqual([409, 'conflict']);
    expect((await send(view.put, bytes)).status).toBe(200);
    expect(
      (await kit.db.selectFrom('files').select('id').where('project_id', '=', project).execute()).length,
    ).toBe(0);
    const done = await complete(view);
    expect(done.status).toBe(201);
    expect(done.body).toMatchObject({
      status: 'completed',
      file: { sha256: sha256(bytes), size: 12, mimeType: 'text/plain', filename: 'grüße.txt' },
    });
    expect(done.headers.get('location')).toBe(`http://media.test/files/${done.body.file?.id ?? ''}`);
    const again = await complete(view);
    expect([again.status, again.body.file?.id]).toEqual([200, done.body.file?.id]);
    const row = await kit.db
      .selectFrom('files')
      .selectAll()
      .where('id', '=', done.body.file?.id ?? '')
      .executeTakeFirstOrThrow();
    expect(row).toMatchObject({
      s3_key: `${project}/files/${row.id}.txt`,
      declared_type: 'image/png',
      metadata: { caption: 'Ä' },
    });
  });

  it('in parts, signed on demand, in any order', async () => {
    const bytes = pattern(17 * mebibyte + 3);
    const view = await begin({ filename: 'a.bin', size: bytes.length, via: 'multipart' });
    expect(view.multipart).toEqual({ partBytes: 8 * mebibyte, partCount: 3 });
    const path = `/projects/${project}/uploads/${view.id}/parts`;
    expect((await api('POST', path, { numbers: [4] })).status).toBe(400);
    const { body } = await api<{ data: (Signed & { number: number })[] }>('POST', path, {
      numbers: [3, 1, 2],
    });
    const tags: { number: number; etag: string }[] = [];
    for (const signed of body.data) {
      const start = (signed.number - 1) * 8 * mebibyte;
      const answer = await send(signed, bytes.subarray(start, start + 8 * mebibyte));
      expect(answer.status).toBe(200);
      tags.push({ number: signed.number, etag: answer.headers.get('etag') ?? '' });
      if (tags.length === 1) expect((await complete(view)).status).toBe(409);
    }
    const listed = await api<{ data: { number: number; size: number }[] }>('GET', path);
    expect(listed.body.data.map(({ number, size }) => [number, size])).toEqual([
      [1, 8 * mebibyte],
      [2, 8 * mebibyte],
      [3, mebibyte + 3],
    ]);
    expect((await complete(view, { parts: [{ number: 1, etag: 'x' }] })).status).toBe(409);
    const done = await complete(view, { parts: tags });
    expect([done.status, done.body.file?.sha256]).toEqual([201, sha256(bytes)]);
  });

  it('by a form', async () => {
    const bytes = Buffer.from('a form');
    const view = await begin({ filename: 'a.txt', size: bytes.length, via: 'post' });
    const sendForm = (content: string) => {
      const form = new FormData();
      for (const [name, value] of Object.entries(view.post?.fields ?? {})) form.set(name, value);
      form.set('file', new Blob([content]), 'a.txt');
      return fetch((view.post?.url ?? '').replace('http://media.test', kit.url), {
        method: 'POST',
        body: form,
      });
    };
    expect((await sendForm('a form that is too long')).status).toBe(413);
    expect((await sendForm('a form')).status).toBe(204);
    expect((await complete(view)).body.file?.sha256).toBe(sha256(bytes));
  });

  it('above 64 MiB is verified by a job', async () => {
    const bytes = pattern(65 * mebibyte);
    const view = await begin({ filename: 'large.bin', size: bytes.length, via: 'put' });
    expect((await send(view.put, bytes)).status).toBe(200);
    const accepted = await complete(view);
    expect([accepted.status, accepted.body.status]).toEqual([202, 'verifying']);
    expect((await complete(view)).status).toBe(202);
    await kit.finishUploads();
    const { body } = await api('GET', `/projects/${project}/uploads/${view.id}`);
    expect([body.status, body.file?.sha256]).toEqual(['completed', sha256(bytes)]);
  });

  it('cannot be changed any more, not by an address that still works', async () => {
    const bytes = Buffer.from('first');
    const view = await begin({ filename: 'a.txt', size: 5 });
    await send(view.put, bytes);
    const done = await complete(view);
    const replay = await send(view.put, Buffer.from('later'));
    expect([replay.status, ((await replay.json()) as { code: string }).code]).toEqual([409, 'conflict']);
    const row = await kit.db
      .selectFrom('files')
      .selectAll()
      .where('id', '=', done.body.file?.id ?? '')
      .executeTakeFirstOrThrow();
    expect((await kit.blobs.stat(row.s3_key))?.size).toBe(5);
    // Even what a store without our eyes would have taken changes only what is thrown away.
    await kit.blobs.put(`.staging/${view.id}`, Buffer.from('later'));
    expect((await kit.leftovers(project)).blobs.filter((key) => key.startsWith('.staging'))).toEqual([]);
    expect((await kit.blobs.stat(row.s3_key))?.size).toBe(5);
  });

  it('may be aborted, and leaves nothing', async () => {
    const own = await kit.project();
    const one = await begin({ filename: 'a', size: 1000 }, own);
    const two = await begin({ filename: 'b', size: 9 * mebibyte, via: 'multipart' }, own);
    await send(one.put, Buffer.alloc(1000));
    const { body } = await api<{ data: Signed[] }>('POST', `/projects/${own}/uploads/${two.id}/parts`, {
      numbers: [1],
    });
    await send(body.data[0], pattern(8 * mebibyte));
    expect(await kit.usage(own)).toMatchObject({ reserved: 1000 + 9 * mebibyte, reservedFiles: 2 });
    for (const view of [one, two]) {
      expect((await api('DELETE', `/projects/${own}/uploads/${view.id}`)).status).toBe(204);
      expect((await api('DELETE', `/projects/${own}/uploads/${view.id}`)).status).toBe(204);
      expect((await complete(view, {}, own)).status).toBe(410);
    }
    expect((await send(one.put, Buffer.alloc(1000))).status).toBe(410);
    expect(await kit.leftovers(own)).toEqual(nothing);
  });

  it('expires with its last address', async () => {
    const own = await kit.project();
    await begin({ filename: 'a', size: 1000 }, own);
    const set = (secondsAgo: number) =>
      kit.db
        .updateTable('uploads')
        .set({ active_at: new Date(Date.now() - secondsAgo * 1000) })
        .where('project_id', '=', own)
        .execute();
    const row = await kit.db
      .selectFrom('uploads')
      .selectAll()
      .where('project_id', '=', own)
      .executeTakeFirstOrThrow();
    expect(row.active_at.getTime()).toBeGreaterThan(Date.now() + 590_000);
    await set(3500);
    await kit.cleanup('expire-uploads');
    expect(await kit.usage(own)).toMatchObject({ reservedFiles: 1 });
    await set(3700);
    await kit.cleanup('expire-uploads');
    expect(await kit.leftovers(own)).toEqual(nothing);
  });
});

describe('what is refused', () => {
  it('at the door: too large, over the quota, not a size', async () => {
    const small = await kit.project({ quota: { bytes: 10_000, bytesPerUpload: 5000 } });
    const path = `/projects/${small}/uploads`;
    expect((await api('POST', path, { filename: 'a', size: 5001 })).status).toBe(413);
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => api('POST', path, { filename: 'a', size: 1700 })),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(5);
    expect(answers.filter(({ body }) => body.code === 'quota-exceeded')).toHaveLength(45);
    for (const body of [
      { size: 1 },
      { filename: 'a' },
      { filename: 'a', size: -1 },
      { filename: 'a', size: 1, colour: 1 },
    ]) {
      expect((await api('POST', path, body)).status).toBe(400);
    }
  });

  it('at the address: other bytes than were signed for', async () => {
    const view = await begin({ filename: 'a', size: 5, type: 'text/plain' });
    expect((await send(view.put, Buffer.from('longer'))).status).toBe(403);
    expect((await send(view.put, Buffer.from('hello'), { 'content-type': 'text/html' })).status).toBe(403);
    const url = view.put?.url ?? '';
    const changed = (from: RegExp, to: string) =>
      send({ ...view.put!, url: url.replace(from, to) }, Buffer.from('hello'));
    for (const [from, to] of [
      [/size=5/, 'size=6'],
      [/do=put/, 'do=put-part'],
      [/project=[^&]+/, `project=${project}`.replace(/.$/, 'x')],
      [/exp=\d/, 'exp=9'],
      [/$/, '&size=5'],
      [/&sig=[^&]+/, ''],
      [/staging\/[^?]+/, `staging/${(await begin({ filename: 'b', size: 5 })).id}`],
    ] as const) {
      expect([to, (await changed(from, to)).status]).toEqual([to, 403]);
    }
    const get = await fetch(url.replace('http://media.test', kit.url));
    expect(get.status).toBe(403);
    kit.clock.advance(601_000);
    const late = await send(view.put, Buffer.from('hello'));
    expect([late.status, ((await late.json()) as { code: string }).code]).toEqual([403, 'link-expired']);
    kit.clock.advance(-601_000);
    expect((await send(view.put, Buffer.from('hello'))).status).toBe(200);
  });

  it('at the end: a lying digest, a type that is not taken, a page that calls itself a picture', async () => {
    const pictures = await kit.project({ allowedTypes: ['image/*'] });
    const cases: [Record<string, unknown>, Buffer, number, string][] = [
      [{ sha256: sha256(Buffer.from('other')) }, Buffer.from('hello'), 422, 'digest-mismatch'],
    ];
    for (const [more, bytes, status, code] of cases) {
      const view = await begin({ filename: 'a', size: bytes.length, ...more });
      await send(view.put, bytes);
      const answer = await complete(view);
      expect([answer.status, answer.body.code]).toEqual([status, code]);
      const shown = await api('GET', `/projects/${project}/uploads/${view.id}`);
      expect(shown.body).toMatchObject({ status: 'failed', failure: { code }, file: null });
    }
    const page = Buffer.from('<!doctype html><script>alert(1)</script>');
    const view = await begin({ filename: 'photo.jpg', size: page.length, type: 'image/jpeg' }, pictures);
    await send(view.put, page);
    const answer = await complete(view, {}, pictures);
    expect([answer.status, answer.body.code]).toEqual([415, 'type-not-allowed']);
    expect(await kit.leftovers(pictures)).toEqual(nothing);
  });

  it('an upload of another project, and one that is none', async () => {
    const view = await begin({ filename: 'a', size: 5 });
    const other = await kit.project();
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['GET', '/parts'],
      ['POST', '/complete'],
    ] as const) {
      expect(
        (
          await api(
            method,
            `/projects/${other}/uploads/${view.id}${path}`,
            method === 'POST' ? {} : undefined,
          )
        ).status,
      ).toBe(404);
    }
  });
});

describe('what goes wrong', () => {
  it.each(['copy', 'get', 'plan'] as const)('at %s is made good by the job', async (where) => {
    let broken = true;
    const fail = () => Promise.reject(new StoreUnavailable('the store is gone', ''));
    const failing = await createUploadKit({
      beside: kit,
      store: (real) => ({
        ...real,
        copy: (...args) => (broken && where === 'copy' ? fail() : real.copy(...args)),
        get: (key, options) =>
          broken && where === 'get' && !key.startsWith('.staging') ? fail() : real.get(key, options),
      }),
      ...(where === 'plan' ? { planVariants: () => Promise.reject(new Error('the database is gone')) } : {}),
    });
    try {
      const own = await kit.project();
      const view = await begin({ filename: 'a', size: 5 }, own);
      await send(view.put, Buffer.from('hello'));
      const answer = await fetch(`${failing.url}/projects/${own}/uploads/${view.id}/complete`, {
        method: 'POST',
      });
      expect(answer.status).toBe(202);
      // Nobody takes its row for that of a dead request meanwhile.
      await kit.db
        .updateTable('files')
        .set({ heartbeat_at: new Date(0) })
        .where('project_id', '=', own)
        .execute();
      await kit.cleanup('expire-uploads');
      broken = false;
      await kit.finishUploads();
      const { body } = await api('GET', `/projects/${own}/uploads/${view.id}`);
      expect(body).toMatchObject({ status: 'completed', file: { sha256: sha256(Buffer.from('hello')) } });
      expect(await kit.usage(own)).toEqual({ bytes: 5, files: 1, reserved: 0, reservedFiles: 0 });
    } finally {
      await failing.close();
    }
  });

  it('two completions at once make one file', async () => {
    const view = await begin({ filename: 'a', size: 5 });
    await send(view.put, Buffer.from('hello'));
    const answers = await Promise.all([complete(view), complete(view), complete(view)]);
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    for (const { status } of answers) expect([200, 201, 202, 409]).toContain(status);
    const { body } = await api('GET', `/projects/${project}/uploads/${view.id}`);
    expect(body.status).toBe('completed');
  });
});

describe('a client that speaks S3 by itself', () => {
  const sign = async (wish: Record<string, unknown>) => {
    const answer = await api<{
      id: string;
      key: string;
      url: string;
      headers: Record<string, string>;
      fields?: Record<string, string>;
      code?: string;
    }>('POST', `/projects/${project}/uploads/sign`, wish);
    expect([answer.status, answer.body.code]).toEqual([200, undefined]);
    return answer.body;
  };
  const request = (
    method: string,
    signed: { url: string; headers: Record<string, string> },
    body?: Buffer | string,
  ) =>
    fetch(signed.url.replace('http://media.test', kit.url), {
      method,
      headers: signed.headers,
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : new Uint8Array(body) }),
    });

  it('puts a file in one request', async () => {
    const first = await sign({ method: 'PUT', key: 'holiday.txt', contentType: 'text/plain', size: 5 });
    expect(first.key).toBe(`.staging/${first.id}`);
    const answer = await request('PUT', first, Buffer.from('hello'));
    expect(answer.status).toBe(200);
    const done = await complete(first);
    expect([done.status, done.body.file?.filename]).toEqual([201, 'holiday.txt']);
  });

  it('puts a file in parts, lists, completes and aborts them', async () => {
    const bytes = pattern(6 * mebibyte);
    const first = await sign({ method: 'POST', key: 'large.bin', contentType: 'application/x-thing' });
    const begun = await (await request('POST', first)).text();
    const uploadId = /<UploadId>([^<]+)<\/UploadId>/.exec(begun)?.[1] ?? '';
    const { key } = first;
    const tags = [];
    for (const partNumber of [1, 2]) {
      const signed = await sign({ method: 'PUT', key, uploadId, partNumber });
      const piece = partNumber === 1 ? bytes.subarray(0, 5 * mebibyte) : bytes.subarray(5 * mebibyte);
      tags.push((await request('PUT', signed, piece)).headers.get('etag')?.replaceAll('"', ''));
    }
    const list = await (await request('GET', await sign({ method: 'GET', key, uploadId }))).text();
    expect(list.match(/<PartNumber>/g)).toHaveLength(2);
    const parts = tags.map(
      (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag ?? ''}</ETag></Part>`,
    );
    const end = await sign({ method: 'POST', key, uploadId });
    for (const body of [
      '',
      '<x/>',
      '<!DOCTYPE x [<!ENTITY a "b">]><CompleteMultipartUpload>&a;</CompleteMultipartUpload>',
    ]) {
      expect((await request('POST', end, body)).status).toBe(400);
    }
    const finished = await request(
      'POST',
      end,
      `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`,
    );
    expect(await finished.text()).toContain('<Location>');
    const done = await complete(first);
    expect([done.status, done.body.file?.sha256]).toEqual([201, sha256(bytes)]);

    const second = await sign({ method: 'POST', key: 'other.bin' });
    const other = /<UploadId>([^<]+)</.exec(await (await request('POST', second)).text())?.[1] ?? '';
    const abort = await sign({ method: 'DELETE', key: second.key, uploadId: other });
    expect((await request('DELETE', abort)).status).toBe(204);
    expect((await complete(second)).status).toBe(409);
  });

  it('is signed nothing but its own upload', async () => {
    const { key } = await sign({ method: 'PUT', key: 'a', size: 5 });
    const other = await kit.project();
    expect((await api('POST', `/projects/${other}/uploads/sign`, { method: 'PUT', key })).status).toBe(404);
    expect((await api('POST', `/projects/${project}/uploads/sign`, { method: 'DELETE', key })).status).toBe(
      400,
    );
    expect((await api('POST', `/projects/${project}/uploads/sign`, { method: 'GET', key })).status).toBe(400);
    const traversal = await sign({ method: 'PUT', key: '../../etc/passwd', size: 1 });
    expect(traversal.key).toBe(`.staging/${traversal.id}`);
  });
});
