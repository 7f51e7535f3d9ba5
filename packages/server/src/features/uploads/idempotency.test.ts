import { randomBytes } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { openRaw, type RawRequest } from '../../../test/raw-http.js';
import {
  createUploadKit,
  multipartBody,
  nothing,
  type TestPart,
  type UploadKit,
} from '../../../test/upload-kit.js';

let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit({ poolSize: 20 });
});
afterAll(() => kit.close());

const content = randomBytes(50_000);

function send(
  projectId: string,
  key: string,
  body: Buffer | string = content,
  name = 'a.bin',
): Promise<Response> {
  return fetch(`${kit.url}/projects/${projectId}/upload?filename=${name}`, {
    method: 'POST',
    headers: { 'idempotency-key': key, 'content-type': 'application/octet-stream' },
    body: new Uint8Array(Buffer.from(body)),
  });
}

function sendForm(projectId: string, key: string, parts: readonly TestPart[]): Promise<Response> {
  return kit.send(projectId, multipartBody(parts), { 'idempotency-key': key });
}

/** Sends the beginning of a body and resolves when its row is open. */
async function begin(projectId: string, key: string): Promise<RawRequest> {
  const request = await openRaw(kit.port, [
    `POST /projects/${projectId}/upload?filename=a.bin HTTP/1.1`,
    'Host: test',
    `Idempotency-Key: ${key}`,
    `Content-Length: ${content.length}`,
    'Connection: close',
  ]);
  request.write(content.subarray(0, 20_000));
  await expect.poll(() => fileIds(projectId), { interval: 5 }).toHaveLength(1);
  return request;
}

async function fileIds(projectId: string): Promise<string[]> {
  const rows = await kit.db.selectFrom('files').select('id').where('project_id', '=', projectId).execute();
  return rows.map(({ id }) => id);
}

async function age(projectId: string, seconds: number): Promise<void> {
  await kit.db
    .updateTable('upload_keys')
    .set({ heartbeat_at: new Date(Date.now() - seconds * 1000) })
    .where('project_id', '=', projectId)
    .execute();
}

async function keysOf(projectId: string): Promise<unknown[]> {
  return kit.db.selectFrom('upload_keys').select('state').where('project_id', '=', projectId).execute();
}

describe('a retry under the same Idempotency-Key', () => {
  it('answers with the file of the first request', async () => {
    const project = await kit.project({ quota: { files: 1 } });
    const first = await send(project, 'key');
    expect(first.status).toBe(201);
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    const again = await send(project, 'key');
    expect(again.status).toBe(201);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.headers.get('location')).toBe(first.headers.get('location'));
    expect(await again.json()).toEqual(await first.json());
    expect(await kit.usage(project)).toEqual({ bytes: 50_000, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('answers with all files of a form, in their order', async () => {
    const project = await kit.project();
    const parts = ['c', 'a', 'b'].map((name) => ({ filename: `${name}.txt`, content: name }));
    const first = await sendForm(project, 'key', parts);
    const again = await sendForm(project, 'key', parts);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(await again.json()).toEqual(await first.json());
    expect(await kit.usage(project)).toMatchObject({ files: 3, reservedFiles: 0 });
  });

  it('is the same with the key in quotes', async () => {
    const project = await kit.project();
    expect((await send(project, '"a \\"key\\""')).status).toBe(201);
    expect((await send(project, 'a "key"')).headers.get('idempotency-replayed')).toBe('true');
  });

  it.each([
    ['other bytes', () => Buffer.alloc(50_000), 'a.bin'],
    ['another name', () => content, 'b.bin'],
    ['fewer bytes', () => content.subarray(1), 'a.bin'],
  ])('with %s is refused', async (_name, body, name) => {
    const project = await kit.project();
    await send(project, 'key');
    const answer = await send(project, 'key', body(), name);
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({ code: 'idempotency-key-reused' });
    expect(await fileIds(project)).toHaveLength(1);
    expect((await send(project, 'key')).headers.get('idempotency-replayed')).toBe('true');
  });

  it('is refused when the file has been deleted since', async () => {
    const project = await kit.project();
    const { id } = (await (await send(project, 'key')).json()) as { id: string };
    await fetch(`${kit.url}/files/${id}`, { method: 'DELETE' });
    const answer = await send(project, 'key');
    expect(answer.status).toBe(409);
    expect(await answer.json()).toMatchObject({
      code: 'conflict',
      detail: expect.stringContaining('deleted'),
    });
  });

  it('is a new upload in another project, under another key, and without one', async () => {
    const project = await kit.project();
    const other = await kit.project();
    await send(project, 'key');
    expect((await send(other, 'key')).headers.get('idempotency-replayed')).toBeNull();
    expect((await send(project, 'other')).headers.get('idempotency-replayed')).toBeNull();
    expect(await fileIds(project)).toHaveLength(2);
  });
});

describe('a key that another request holds', () => {
  it('answers 409 with Retry-After, and the file once that one has ended', async () => {
    const project = await kit.project();
    const first = await begin(project, 'key');
    const answer = await send(project, 'key');
    expect(answer.status).toBe(409);
    expect(answer.headers.get('retry-after')).toBe('2');
    first.write(content.subarray(20_000));
    expect((await first.answer()).status).toBe(201);
    expect((await send(project, 'key')).headers.get('idempotency-replayed')).toBe('true');
  });

  it('gives exactly one of many at once the upload', async () => {
    const project = await kit.project();
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(project, 'key')));
    const made = answers.filter(
      ({ status, headers }) => status === 201 && !headers.has('idempotency-replayed'),
    );
    expect(made).toHaveLength(1);
    expect(answers.every(({ status }) => status === 201 || status === 409)).toBe(true);
    expect(await kit.usage(project)).toEqual({ bytes: 50_000, files: 1, reserved: 0, reservedFiles: 0 });
  });

  it('is free as soon as that request has failed', async () => {
    const project = await kit.project();
    const first = await begin(project, 'key');
    first.socket.resetAndDestroy();
    await expect.poll(() => keysOf(project), { interval: 5 }).toEqual([]);
    const answer = await send(project, 'key', 'another body', 'b.txt');
    expect(answer.status).toBe(201);
    expect(answer.headers.get('idempotency-replayed')).toBeNull();
  });

  it('is free again when a request before the first byte is refused', async () => {
    const project = await kit.project({ quota: { bytes: 10 } });
    expect((await send(project, 'key')).status).toBe(413);
    expect(await keysOf(project)).toEqual([]);
    expect((await send(project, 'key', 'small')).status).toBe(201);
  });

  it('is taken over from a process that is silent for too long, which cannot complete it any more', async () => {
    const project = await kit.project();
    const first = await begin(project, 'key');
    await age(project, 299);
    expect((await send(project, 'key')).status).toBe(409);
    await age(project, 301);
    const second = await send(project, 'key');
    expect(second.status).toBe(201);
    expect(second.headers.get('idempotency-replayed')).toBeNull();
    first.write(content.subarray(20_000));
    expect((await first.answer()).status).toBe(503);
    expect(await kit.usage(project)).toEqual({ bytes: 50_000, files: 1, reserved: 0, reservedFiles: 0 });
    const retried = await send(project, 'key');
    expect(retried.headers.get('idempotency-replayed')).toBe('true');
    expect(retried.headers.get('location')).toBe(second.headers.get('location'));
  });
});

describe('the heartbeat', () => {
  it('keeps the key of an upload under way, and ends one whose key is lost', async () => {
    const quick = await createUploadKit({ heartbeatMs: 30 });
    try {
      const project = await quick.project();
      const request = await openRaw(quick.port, [
        `POST /projects/${project}/upload HTTP/1.1`,
        'Host: test',
        'Idempotency-Key: key',
        'Content-Length: 100',
        'Connection: close',
      ]);
      const keys = () => quick.db.selectFrom('upload_keys').select('heartbeat_at').execute();
      await expect.poll(keys, { interval: 5 }).toHaveLength(1);
      await quick.db
        .updateTable('upload_keys')
        .set({ heartbeat_at: new Date(0) })
        .execute();
      await expect
        .poll(async () => (await keys())[0]?.heartbeat_at.getTime(), { interval: 5 })
        .toBeGreaterThan(0);
      await quick.db.updateTable('upload_keys').set({ attempt: project }).execute();
      expect(await request.status()).toBe(503);
      expect(await quick.leftovers(project)).toEqual(nothing);
    } finally {
      await quick.close();
    }
  });
});

describe('a completed key', () => {
  it('is forgotten after 24 hours', async () => {
    const project = await kit.project();
    await send(project, 'key');
    await age(project, 24 * 3600 - 60);
    await kit.cleanup('forget-upload-keys');
    expect(await keysOf(project)).toEqual([{ state: 'done' }]);
    await age(project, 24 * 3600 + 1);
    expect((await send(project, 'key')).headers.get('idempotency-replayed')).toBeNull();
    await age(project, 24 * 3600 + 1);
    await kit.cleanup('forget-upload-keys');
    expect(await keysOf(project)).toEqual([]);
    expect(await fileIds(project)).toHaveLength(2);
  });
});

describe('an Idempotency-Key', () => {
  it.each([['x'], ['x'.repeat(255)], ['with space'], ['"']])('may be %j', async (key) => {
    expect((await send(await kit.project(), key)).status).toBe(201);
  });

  it.each([[''], ['""'], ['x'.repeat(256)], ['k\u00e4se'], ['a\tb']])('cannot be %j', async (key) => {
    const project = await kit.project();
    const answer = await send(project, key);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ errors: [{ pointer: '#/headers/idempotency-key' }] });
    expect(await kit.leftovers(project)).toEqual(nothing);
  });

  it('counts for forms too, where other files are refused', async () => {
    const project = await kit.project();
    await sendForm(project, 'key', [{ filename: 'a.txt', content: 'a' }]);
    const answer = await sendForm(project, 'key', [{ filename: 'a.txt', content: 'b' }]);
    expect(answer.status).toBe(422);
  });
});
