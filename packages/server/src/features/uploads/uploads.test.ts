import { createHash } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { noise } from '../../../test/fixtures/noise.js';
import { openRaw } from '../../../test/raw-http.js';
import {
  createUploadKit,
  multipartBody,
  multipartType,
  nothing,
  testBoundary,
  type TestPart,
  type UploadKit,
} from '../../../test/upload-kit.js';

let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit();
});
afterAll(() => kit.close());

interface Shown {
  id: string;
  filename: string;
  mimeType: string;
  size: number;
}

async function upload(projectId: string, parts: readonly TestPart[]): Promise<Response> {
  return kit.send(projectId, multipartBody(parts));
}

describe('one file', () => {
  it('is stored under its key and answered with its address, size and hash', async () => {
    const project = await kit.project();
    const content = noise(300_000);
    const answer = await upload(project, [{ filename: 'a.bin', content }]);
    expect(answer.status).toBe(201);
    const file = (await answer.json()) as Shown;
    expect(answer.headers.get('location')).toBe(`http://media.test/files/${file.id}`);
    expect(answer.headers.get('etag')).toBe('"1"');
    expect(file).toMatchObject({
      filename: 'a.bin',
      mimeType: 'application/octet-stream',
      size: 300_000,
      sha256: createHash('sha256').update(content).digest('hex'),
      status: 'ready',
    });
    const blob = await kit.blobs.get(`${project}/files/${file.id}.bin`);
    expect(Buffer.concat(await blob.body.toArray()).equals(content)).toBe(true);
    expect(await kit.usage(project)).toEqual({ bytes: 300_000, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('keeps what the client claimed beside the detected type, and who sent it', async () => {
    const project = await kit.project();
    const answer = await upload(project, [
      { filename: 'a.jpg', type: 'image/jpeg', content: '<html><p>hello' },
    ]);
    const { id } = (await answer.json()) as Shown;
    const row = await kit.db.selectFrom('files').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
    expect(row).toMatchObject({
      mime_type: 'text/html',
      declared_type: 'image/jpeg',
      s3_key: `${project}/files/${id}.html`,
      created_by_user: kit.userId,
      created_by_key: null,
      reserved_bytes: 0,
    });
  });

  it('may be empty', async () => {
    const project = await kit.project();
    const answer = await upload(project, [{ filename: 'empty.txt', content: '' }]);
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ size: 0, mimeType: 'application/octet-stream' });
  });

  it('may come without a length', async () => {
    const project = await kit.project();
    const body = multipartBody([{ filename: 'a.bin', content: noise(200_000) }]);
    const answer = await kit.send(project, body, {}, 'chunked');
    expect(answer.status).toBe(201);
    expect(await kit.usage(project)).toEqual({ bytes: 200_000, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('is asked for when the client waits for leave to send', async () => {
    const project = await kit.project();
    const body = multipartBody([{ filename: 'a.txt', content: 'hello' }]);
    const request = await openRaw(kit.port, [
      `POST /projects/${project}/upload HTTP/1.1`,
      'Host: test',
      `Content-Type: ${multipartType}`,
      `Content-Length: ${body.length}`,
      'Expect: 100-continue',
      'Connection: close',
    ]);
    await new Promise((resolve) => request.socket.once('data', resolve));
    request.write(body);
    const { headers, body: rest } = await request.answer();
    expect(headers).toMatch(/^HTTP\/1\.1 100 Continue/);
    expect(rest).toMatch(/^HTTP\/1\.1 201 Created/);
  });

  it.each([
    ['../../etc/passwd', 'passwd'],
    ['C:\\\\pictures\\\\cat.jpg', 'cat.jpg'],
    ['nul\0in.txt', 'nulin.txt'],
    ['line%0D%0Abreak.txt', 'linebreak.txt'],
    ['say %22cheese%22.txt', 'say "cheese".txt'],
    ['\u202egpj.exe', 'gpj.exe'],
    ['..', 'unnamed'],
    [`${'ä'.repeat(3_000)}.jpeg`, `${'ä'.repeat(250)}.jpeg`],
  ])('named %j is shown as %j', async (filename, shown) => {
    const project = await kit.project();
    const answer = await upload(project, [{ filename, content: 'hello' }]);
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ filename: shown });
  });

  it('cannot have a name of 10,000 characters', async () => {
    const project = await kit.project();
    const answer = await upload(project, [{ filename: 'x'.repeat(10_000), content: 'hello' }]);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: 'malformed-body' });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe('a form', () => {
  it('may have fields before, between and after its files, also twice, and empty file fields', async () => {
    const project = await kit.project();
    const answer = await upload(project, [
      { name: 'note', content: 'one' },
      { name: 'note', content: 'two' },
      { filename: 'a.txt', content: 'hello' },
      { filename: '', type: 'application/octet-stream', content: '' },
      { name: 'late', content: 'x'.repeat(64 * 1024) },
    ]);
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ filename: 'a.txt', size: 5 });
    expect(await kit.usage(project)).toEqual({ bytes: 5, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('may carry several files, answered in their order', async () => {
    const project = await kit.project();
    const parts = Array.from({ length: 20 }, (_, index) => ({
      filename: `${index}.txt`,
      content: 'x'.repeat(index * 1000),
    }));
    const answer = await upload(project, parts);
    expect(answer.status).toBe(201);
    expect(answer.headers.get('location')).toBeNull();
    const { data } = (await answer.json()) as { data: Shown[] };
    expect(data.map(({ filename }) => filename)).toEqual(parts.map(({ filename }) => filename));
    expect(await kit.usage(project)).toEqual({ bytes: 190_000, files: 20, reserved: 0, reservedFiles: 0 });
  });

  it('may give a nameless file with bytes', async () => {
    const project = await kit.project();
    const answer = await upload(project, [{ filename: '', content: 'hello' }]);
    expect(await answer.json()).toMatchObject({ filename: 'unnamed', size: 5 });
  });
});

describe('a request is refused', () => {
  async function refused(body: Buffer | string, type?: string) {
    const project = await kit.project();
    const answer = await kit.send(
      project,
      Buffer.from(body),
      type === undefined ? {} : { 'content-type': type },
    );
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(await kit.leftovers(project)).toEqual(nothing);
    const problem = (await answer.json()) as { code: string; status: number; errors?: unknown };
    expect(problem.status).toBe(answer.status);
    return problem;
  }

  it.each([
    ['without parts', `--${testBoundary}--\r\n`, 400, 'no-file'],
    ['with fields only', multipartBody([{ name: 'a', content: 'b' }]), 400, 'no-file'],
    ['with an empty body', '', 400, 'malformed-body'],
    [
      'with a field that is too large',
      multipartBody([{ name: 'a', content: 'x'.repeat(65_537) }]),
      413,
      'body-too-large',
    ],
    [
      'with too many fields',
      multipartBody(Array.from({ length: 101 }, () => ({ name: 'a', content: 'b' }))),
      400,
      'invalid-request',
    ],
    [
      'with a part whose header is too large',
      multipartBody([
        { filename: 'a.txt', content: 'first' },
        { header: `X: ${'x'.repeat(70_000)}`, content: 'second' },
      ]),
      400,
      'malformed-body',
    ],
    [
      'with a part without a disposition',
      multipartBody([{ header: 'X: y', content: 'x' }]),
      400,
      'malformed-body',
    ],
  ])('%s', async (_name, body, status, code) => {
    expect(await refused(body)).toMatchObject({ status, code });
  });

  it.each([
    ['without a boundary', 'multipart/form-data', 400, 'malformed-body'],
    ['with another boundary', 'multipart/form-data; boundary=other', 400, 'malformed-body'],
    ['as nonsense', 'what is this', 415, 'unsupported-media-type'],
  ])('%s', async (_name, type, status, code) => {
    const body = multipartBody([{ filename: 'a.txt', content: 'hello' }]);
    expect(await refused(body, type)).toMatchObject({ status, code });
  });

  it('without a body and a type', async () => {
    const project = await kit.project();
    const answer = await fetch(`${kit.url}/projects/${project}/upload`, { method: 'POST' });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: 'no-file' });
  });

  it('to somebody unknown, to a project that is not there or deleted', async () => {
    const project = await kit.project();
    const body = multipartBody([{ filename: 'a.txt', content: 'hello' }]);
    expect((await kit.send(project, body, { 'x-nobody': '1' })).status).toBe(401);
    expect((await kit.send('0190a000-0000-7000-8000-000000000000', body)).status).toBe(404);
    expect((await kit.send('..%2f', body)).status).toBe(404);
    await kit.db.updateTable('projects').set({ deleted_at: new Date() }).where('id', '=', project).execute();
    expect((await kit.send(project, body)).status).toBe(404);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});
