import { createHash } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { noise } from '../../../test/fixtures/noise.js';
import { openRaw, type RawRequest } from '../../../test/raw-http.js';
import {
  createUploadKit,
  multipartBody,
  multipartType,
  nothing,
  type UploadKit,
} from '../../../test/upload-kit.js';

const maxBytes = 1_000_000;
let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit({
    poolSize: 20,
    limits: { maxBytes, reserveStepBytes: 100_000, idleTimeoutMs: 300, minBytesPerSecond: 2_000 },
  });
});
afterAll(() => kit.close());

interface Sending {
  readonly method?: 'POST' | 'PUT';
  readonly query?: string;
  readonly headers?: Record<string, string>;
  readonly transfer?: 'sized' | 'chunked';
}

function send(projectId: string, body: Buffer | string, sending: Sending = {}): Promise<Response> {
  const bytes = new Uint8Array(Buffer.from(body));
  return fetch(`${kit.url}/projects/${projectId}/upload${sending.query ?? ''}`, {
    method: sending.method ?? 'POST',
    headers: sending.headers ?? {},
    body: sending.transfer === 'chunked' ? new Blob([bytes]).stream() : bytes,
    duplex: 'half',
  });
}

function begin(
  projectId: string,
  length: number | 'chunked',
  query = '?filename=a.bin',
): Promise<RawRequest> {
  return openRaw(kit.port, [
    `PUT /projects/${projectId}/upload${query} HTTP/1.1`,
    'Host: test',
    length === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`,
    'Connection: close',
  ]);
}

async function quiet(): Promise<void> {
  await expect.poll(() => kit.uploads.activeUploads(), { timeout: 10_000, interval: 5 }).toBe(0);
}

describe.each(['POST', 'PUT'] as const)('a raw body by %s', (method) => {
  it.each(['sized', 'chunked'] as const)('%s is stored as one file', async (transfer) => {
    const project = await kit.project();
    const content = noise(300_000);
    const answer = await send(project, content, { method, transfer, query: '?filename=a.bin' });
    expect(answer.status).toBe(201);
    const file = (await answer.json()) as { id: string };
    expect(file).toMatchObject({
      filename: 'a.bin',
      size: 300_000,
      sha256: createHash('sha256').update(content).digest('hex'),
    });
    expect(answer.headers.get('location')).toBe(`http://media.test/files/${file.id}`);
    expect(answer.headers.get('etag')).toBe('"1"');
    const blob = await kit.blobs.get(`${project}/files/${file.id}.bin`);
    expect(Buffer.concat(await blob.body.toArray()).equals(content)).toBe(true);
    expect(await kit.usage(project)).toEqual({ bytes: 300_000, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('needs no Content-Type and no name', async () => {
    const project = await kit.project();
    const request = await openRaw(kit.port, [
      `${method} /projects/${project}/upload HTTP/1.1`,
      'Host: test',
      'Content-Length: 5',
      'Connection: close',
    ]);
    request.write('hello');
    const answer = await request.answer();
    expect(answer.status).toBe(201);
    expect(JSON.parse(answer.body)).toMatchObject({ filename: 'file', size: 5 });
    expect(
      await kit.db.selectFrom('files').select('declared_type').where('project_id', '=', project).execute(),
    ).toEqual([{ declared_type: null }]);
  });

  it.each([
    ['application/json', '{"broken": '],
    ['text/plain', 'hello'],
    ['application/x-www-form-urlencoded', 'a=1&b=2'],
    ['multipart/mixed; boundary=x', '--x--'],
    ['image/jpeg', 'no picture'],
  ])('of type %s is a file that nobody parses', async (type, content) => {
    const project = await kit.project();
    const answer = await send(project, content, { method, headers: { 'content-type': type } });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ size: content.length });
    expect(
      await kit.db.selectFrom('files').select('declared_type').where('project_id', '=', project).execute(),
    ).toEqual([{ declared_type: type }]);
  });
});

describe('the name of a raw body', () => {
  it.each([
    ['attachment; filename="a photo.jpg"', '', 'a photo.jpg'],
    ['attachment; filename=plain.jpg', '?filename=other.jpg', 'plain.jpg'],
    ["attachment; filename=x.jpg; filename*=UTF-8''k%C3%A4se.jpg", '', 'käse.jpg'],
    ["attachment; filename=x.jpg; filename*=UTF-8''broken%", '', 'x.jpg'],
    ['attachment; filename="100%22.txt"', '', '100%22.txt'],
    ['attachment; filename="say \\"cheese\\".txt"', '', 'say "cheese".txt'],
    [Buffer.from('attachment; filename="käse.jpg"').toString('latin1'), '', 'käse.jpg'],
    ['inline', '?filename=b.txt', 'b.txt'],
    ['attachment; filename=""', '?filename=b.txt', 'file'],
    [undefined, '?filename=k%C3%A4se.txt', 'käse.txt'],
    [undefined, '?filename=..%2F..%2Fetc%2Fpasswd', 'passwd'],
    [undefined, '?filename=nul%00in%0D%0A.txt', 'nulin.txt'],
    [undefined, '?filename=%E2%80%AEgpj.exe', 'gpj.exe'],
    [undefined, '?filename=..', 'unnamed'],
    [undefined, '?filename=', 'file'],
    [undefined, '', 'file'],
  ])('from %j and %j is shown as %j', async (disposition, query, shown) => {
    const project = await kit.project();
    const headers: Record<string, string> =
      disposition === undefined ? {} : { 'content-disposition': disposition };
    const answer = await send(project, 'hello', { query, headers });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ filename: shown });
  });

  it.each([
    ['attachment; filename="open', '', '#/headers/content-disposition'],
    ['attachment; filename=a; filename=b', '', '#/headers/content-disposition'],
    ['; filename=a', '', '#/headers/content-disposition'],
    ['attachment, attachment', '', '#/headers/content-disposition'],
    [`attachment; filename="${'x'.repeat(10_000)}"`, '', '#/headers/content-disposition'],
    [undefined, `?filename=${'x'.repeat(10_000)}`, '#/query/filename'],
    [undefined, '?filename=a&filename=b', '#/query/filename'],
  ])('cannot be %j and %j', async (disposition, query, pointer) => {
    const project = await kit.project();
    const headers: Record<string, string> =
      disposition === undefined ? {} : { 'content-disposition': disposition };
    const answer = await send(project, 'hello', { query, headers });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: 'invalid-request', errors: [{ pointer }] });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe('an empty body', () => {
  it.each(['sized', 'chunked'] as const)('%s with a name is an empty file', async (transfer) => {
    const project = await kit.project();
    const answer = await send(project, '', { transfer, query: '?filename=empty.txt' });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toMatchObject({ filename: 'empty.txt', size: 0 });
  });

  it.each(['sized', 'chunked'] as const)('%s without a name is no file', async (transfer) => {
    const project = await kit.project();
    const answer = await send(project, '', { transfer });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ code: 'no-file' });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe.each(['sized', 'chunked'] as const)('a limit for a raw body that comes %s', (transfer) => {
  const bytes = (size: number) => Buffer.alloc(size, 7);

  it('holds to the byte for the size of a file', async () => {
    const project = await kit.project();
    expect((await send(project, bytes(maxBytes), { transfer })).status).toBe(201);
    const answer = await send(project, bytes(maxBytes + 1), { transfer });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ code: 'file-too-large', limit: maxBytes });
    expect(await kit.usage(project)).toEqual({ bytes: maxBytes, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('holds to the byte for the quota', async () => {
    const project = await kit.project({ quota: { bytes: 500_000 } });
    expect((await send(project, bytes(300_000), { transfer })).status).toBe(201);
    const over = await send(project, bytes(200_001), { transfer });
    expect(over.status).toBe(413);
    expect(await over.json()).toMatchObject({ code: 'quota-exceeded', limit: 500_000 });
    expect((await send(project, bytes(200_000), { transfer })).status).toBe(201);
    expect(await kit.usage(project)).toEqual({ bytes: 500_000, files: 2, reserved: 0, reservedFiles: 0 });
  });

  it('holds for the type', async () => {
    const project = await kit.project({ allowedTypes: ['image/*'] });
    const page = '<!DOCTYPE html><script>alert(1)</script>';
    const answer = await send(project, page, { transfer, headers: { 'content-type': 'image/jpeg' } });
    expect(answer.status).toBe(415);
    expect(await answer.json()).toMatchObject({ code: 'type-not-allowed' });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe('fifty raw bodies at once', () => {
  it('of known size: exactly as many succeed as fit', async () => {
    const project = await kit.project({ quota: { bytes: 17 * 20_000 } });
    const body = noise(20_000);
    const answers = await Promise.all(Array.from({ length: 50 }, () => send(project, body)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(17);
    expect(answers.filter(({ status }) => status === 413)).toHaveLength(33);
    expect(await kit.usage(project)).toEqual({ bytes: 340_000, files: 17, reserved: 0, reservedFiles: 0 });
  });
});

describe('a raw body that is cut', () => {
  it.each([
    ['before its first byte', 0],
    ['inside the first 4 KiB', 3_000],
    ['before its last byte', 199_999],
  ])('%s ends with 400 and leaves nothing', async (_name, length) => {
    const project = await kit.project();
    const request = await begin(project, 200_000);
    request.write(Buffer.alloc(length, 7));
    request.socket.end();
    expect((await request.answer()).status).toBe(400);
    await quiet();
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('in chunks leaves nothing', async () => {
    const project = await kit.project();
    const request = await begin(project, 'chunked');
    request.write(`${(50_000).toString(16)}\r\n`);
    request.write(Buffer.alloc(50_000, 7));
    request.write('\r\n');
    request.socket.end();
    expect((await request.answer()).status).toBe(400);
    // The parser answers before the route has begun; what the route began goes when the connection is cut.
    await expect.poll(() => kit.leftovers(project), { timeout: 5_000 }).toEqual(nothing);
  });

  it('by a client that stops ends with 408', async () => {
    const project = await kit.project();
    const request = await begin(project, 200_000);
    request.write(Buffer.alloc(20_000, 7));
    const answer = await request.answer();
    expect(answer.status).toBe(408);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'request-timeout' });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});

describe('a raw body is refused', () => {
  it.each([
    ['that is compressed', { 'content-encoding': 'gzip' }, 415, 'unsupported-media-type'],
    ['that is a range', { 'content-range': 'bytes 5-9/10' }, 400, 'invalid-request'],
    ['of a type that is none', { 'content-type': 'what is this' }, 415, 'unsupported-media-type'],
  ])('%s', async (_name, headers, status, code) => {
    const project = await kit.project();
    const answer = await send(project, 'hello', { method: 'PUT', headers });
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ code });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('when it is a form and comes by PUT', async () => {
    const project = await kit.project();
    const body = multipartBody([{ filename: 'a.txt', content: 'hello' }]);
    const answer = await send(project, body, { method: 'PUT', headers: { 'content-type': multipartType } });
    expect(answer.status).toBe(415);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('from somebody unknown, and for a project that is not there', async () => {
    const project = await kit.project();
    expect((await send(project, 'hello', { method: 'PUT', headers: { 'x-nobody': '1' } })).status).toBe(401);
    expect((await send('0190a000-0000-7000-8000-000000000000', 'hello', { method: 'PUT' })).status).toBe(404);
    expect(await kit.leftovers(project)).toEqual(nothing);
  });
});
