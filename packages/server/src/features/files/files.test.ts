import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { newId } from '../../foundation/ids.js';
import { createUploadKit, multipartBody, type UploadKit } from '../../../test/upload-kit.js';

let kit: UploadKit;
beforeAll(async () => {
  kit = await createUploadKit();
});
afterAll(() => kit.close());

interface Shown {
  id: string;
  filename: string;
  version: number;
  metadata: unknown;
}

async function upload(projectId: string, filename: string, content = 'hello'): Promise<Shown> {
  const answer = await kit.send(projectId, multipartBody([{ filename, content }]));
  expect(answer.status).toBe(201);
  return (await answer.json()) as Shown;
}

async function get(path: string) {
  const answer = await kit.app.inject(path);
  return { status: answer.statusCode, headers: answer.headers, body: answer.json<Record<string, unknown>>() };
}

async function names(query: string, projectId: string): Promise<string[]> {
  const { status, body } = await get(`/projects/${projectId}/files?${query}`);
  expect(status).toBe(200);
  return (body['data'] as Shown[]).map(({ filename }) => filename);
}

function patch(id: string, payload: unknown, headers: Record<string, string> = {}) {
  return kit.app.inject({
    method: 'PATCH',
    url: `/files/${id}`,
    payload: payload as object,
    headers,
  });
}

describe('the list of files', () => {
  it('shows the newest first, page by page, each file once', async () => {
    const project = await kit.project();
    for (let index = 0; index < 7; index++) await upload(project, `${index}.txt`);
    const seen: string[] = [];
    let url: string | undefined = `/projects/${project}/files?limit=3`;
    while (url !== undefined) {
      const { headers, body } = await get(url);
      seen.push(...(body['data'] as Shown[]).map(({ filename }) => filename));
      const link = headers['link'] as string | undefined;
      expect(body['nextCursor'] === null).toBe(link === undefined);
      url = link && `/projects/${project}/files${link.slice(1, link.indexOf('>'))}`;
    }
    expect(seen).toEqual(['6.txt', '5.txt', '4.txt', '3.txt', '2.txt', '1.txt', '0.txt']);
  });

  it('can be filtered by state, type and part of the name', async () => {
    const project = await kit.project();
    await upload(project, 'Report 100%.txt');
    await upload(project, 'report_final.txt');
    await upload(project, 'page.html', '<html><p>');
    const picture = await upload(project, 'x.svg', '<svg xmlns="http://www.w3.org/2000/svg"/>');
    await kit.db.updateTable('files').set({ status: 'processing' }).where('id', '=', picture.id).execute();
    expect(await names('status=processing', project)).toEqual(['x.svg']);
    expect(await names('status=ready', project)).toHaveLength(3);
    expect(await names('type=image/*', project)).toEqual(['x.svg']);
    expect(await names('type=TEXT/html', project)).toEqual(['page.html']);
    expect(await names('name=REPORT', project)).toEqual(['report_final.txt', 'Report 100%.txt']);
    expect(await names('name=%25', project)).toEqual(['Report 100%.txt']);
    expect(await names('name=_f', project)).toEqual(['report_final.txt']);
    expect(await names('name=%5C', project)).toEqual([]);
    expect(await names('name=a%00b', project)).toEqual([]);
    expect(await names('type=text/*&name=report&status=ready', project)).toHaveLength(2);
  });

  it('finds some old names among many in pages, each once', async () => {
    const project = await kit.project();
    const made = 300;
    await kit.db
      .insertInto('files')
      .values(
        Array.from({ length: made }, (_, n) => ({
          id: newId(),
          project_id: project,
          s3_key: newId(),
          filename: n < 40 ? `Bygone ${n}.txt` : `${n}.txt`,
          mime_type: 'text/plain',
          status: 'ready',
          size: 1,
          sha256: Buffer.alloc(32),
        })),
      )
      .execute();
    await sql`ANALYZE files`.execute(kit.db);
    const all = Array.from({ length: 40 }, (_, n) => `Bygone ${39 - n}.txt`);
    const found: string[] = [];
    for (let more: string | null = ''; more !== null;) {
      const { body } = await get(`/projects/${project}/files?limit=15&name=bygone${more}`);
      found.push(...(body['data'] as Shown[]).map(({ filename }) => filename));
      const nextCursor = body['nextCursor'] as string | null;
      more = nextCursor === null ? null : `&cursor=${nextCursor}`;
    }
    expect(found).toEqual(all);
  });

  it('shows neither unfinished uploads, nor the trash, nor other projects', async () => {
    const project = await kit.project();
    const other = await kit.project();
    const file = await upload(project, 'a.txt');
    const trashed = await upload(project, 'b.txt');
    await upload(other, 'c.txt');
    await kit.app.inject({ method: 'DELETE', url: `/files/${trashed.id}` });
    const row = await kit.db
      .selectFrom('files')
      .selectAll()
      .where('id', '=', file.id)
      .executeTakeFirstOrThrow();
    for (const status of ['uploading', 'verifying', 'aborted']) {
      const id = newId();
      await kit.db
        .insertInto('files')
        .values({ ...row, id, s3_key: id, status, exif: null, metadata: '{}' })
        .execute();
      expect((await get(`/files/${id}`)).status).toBe(404);
    }
    expect(await names('', project)).toEqual(['a.txt']);
  });

  it.each([
    'status=uploading',
    'status=deleted',
    'type=image',
    'limit=0',
    'limit=101',
    'cursor=x',
    'name=',
    'sort=size',
  ])('refuses ?%s', async (query) => {
    const { status, body } = await get(`/projects/${await kit.project()}/files?${query}`);
    expect(status).toBe(400);
    expect(body).toMatchObject({
      code: 'invalid-request',
      errors: [{ pointer: expect.stringMatching('^#/query') }],
    });
  });
});

describe('a file', () => {
  it('is shown with the version of its row as its tag', async () => {
    const file = await upload(await kit.project(), 'a.txt');
    const { status, headers, body } = await get(`/files/${file.id}`);
    expect(status).toBe(200);
    expect(headers['etag']).toBe('"1"');
    expect(body).toMatchObject({ id: file.id, filename: 'a.txt' });
  });

  it('can be renamed and carry metadata', async () => {
    const file = await upload(await kit.project(), 'a.txt');
    const answer = await patch(file.id, {
      filename: '../b\u0000.txt',
      metadata: { album: 'x', n: [1, null] },
    });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['etag']).toBe('"2"');
    expect(answer.json()).toMatchObject({
      filename: 'b.txt',
      metadata: { album: 'x', n: [1, null] },
      version: 2,
    });
    expect((await patch(file.id, { metadata: {} })).json()).toMatchObject({
      filename: 'b.txt',
      metadata: {},
    });
  });

  it('is changed only at the version that the client has seen', async () => {
    const file = await upload(await kit.project(), 'a.txt');
    expect((await patch(file.id, { filename: 'b' }, { 'if-match': '"1"' })).statusCode).toBe(200);
    const late = await patch(file.id, { filename: 'c' }, { 'if-match': '"1"' });
    expect(late.statusCode).toBe(412);
    expect(late.json()).toMatchObject({ code: 'precondition-failed' });
    expect((await patch(file.id, { filename: 'c' }, { 'if-match': 'W/"2"' })).statusCode).toBe(412);
    expect((await patch(file.id, { filename: 'c' }, { 'if-match': '"7", "2"' })).statusCode).toBe(200);
    expect((await patch(file.id, { filename: 'd' }, { 'if-match': '*' })).statusCode).toBe(200);
  });

  it('is changed by exactly one of many who have seen the same version', async () => {
    const file = await upload(await kit.project(), 'a.txt');
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        patch(file.id, { filename: `${index}` }, { 'if-match': '"1"' }),
      ),
    );
    const statuses = answers.map(({ statusCode }) => statusCode);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 412)).toHaveLength(9);
  });

  it.each([
    ['an empty name', { filename: '' }, 400],
    ['a number for a name', { filename: 7 }, 400],
    ['another member', { filename: 'x', status: 'ready' }, 400],
    ['a list of metadata', { metadata: [] }, 400],
    ['no metadata', { metadata: null }, 400],
    ['a NUL in metadata', { metadata: { a: 'x\u0000' } }, 400],
    ['a NUL in a member’s name', { metadata: { 'x\u0000': 1 } }, 400],
    ['half a surrogate pair', { metadata: { a: '\ud800' } }, 400],
    ['too much metadata', { metadata: { a: 'x'.repeat(17_000) } }, 413],
    ['a list', [], 400],
  ])('is not changed to have %s', async (_name, change, status) => {
    const file = await upload(await kit.project(), 'a.txt');
    expect((await patch(file.id, change)).statusCode).toBe(status);
    expect((await get(`/files/${file.id}`)).body).toMatchObject({
      filename: 'a.txt',
      version: 1,
      metadata: {},
    });
  });

  it('may have a backslash and a u in its metadata', async () => {
    const file = await upload(await kit.project(), 'a.txt');
    const metadata = { a: '\\u0000', b: '\\\\ud800', c: '😀' };
    expect((await patch(file.id, { metadata })).json()).toMatchObject({ metadata });
  });

  it('is hidden everywhere once it is deleted, and counted until it is purged', async () => {
    const project = await kit.project();
    const file = await upload(project, 'a.txt');
    const remove = () => kit.app.inject({ method: 'DELETE', url: `/files/${file.id}` });
    const first = await remove();
    expect(first.statusCode).toBe(204);
    expect(first.body).toBe('');
    expect((await remove()).statusCode).toBe(404);
    expect((await get(`/files/${file.id}`)).status).toBe(404);
    expect((await patch(file.id, { filename: 'b' })).statusCode).toBe(404);
    expect(await names('', project)).toEqual([]);
    expect(await kit.usage(project)).toMatchObject({ bytes: 5, files: 1 });
    const row = await kit.db
      .selectFrom('files')
      .selectAll()
      .where('id', '=', file.id)
      .executeTakeFirstOrThrow();
    expect(row.generation).toBe(2);
    expect(await kit.blobs.stat(row.s3_key)).toBeDefined();
  });
});
