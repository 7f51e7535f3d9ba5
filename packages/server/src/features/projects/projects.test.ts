import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../test/api.js';
import { newId } from '../../foundation/ids.js';
import { findProject, type Project } from './queries.js';
import { defaultSettings } from './settings.js';

let api: TestApi;
let owner: Member;
let stranger: Member;
const events: { kind: 'changed' | 'deleted'; project: Project; before?: Project }[] = [];
let refuse: Error | undefined;

beforeAll(async () => {
  api = await createTestApi({
    projects: {
      async onSettingsChanged(_tx, project, before) {
        if (refuse) throw refuse;
        events.push({ kind: 'changed', project, before });
        return { noticed: 1 };
      },
      settingsChangesSchema: Type.Object({ noticed: Type.Integer() }),
      async onDeleted(_tx, project) {
        if (refuse) throw refuse;
        events.push({ kind: 'deleted', project });
      },
    },
  });
  owner = await api.register();
  stranger = await api.register();
});
afterAll(() => api.close());

const call = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  api.call(method, path, { token: owner.token, headers, ...(body === undefined ? {} : { body }) });

describe('creating a project', () => {
  it('answers with the whole of it', async () => {
    const { status, body, headers } = await call('POST', '/projects', {
      name: '  Holidays ',
      settings: { visibility: 'public' },
    });
    expect(status).toBe(201);
    expect(headers).toMatchObject({ location: `http://localhost:8420/projects/${body.id}`, etag: '"1"' });
    expect(body).toEqual({
      id: expect.any(String),
      name: 'Holidays',
      ownerId: owner.userId,
      role: 'owner',
      settings: { ...defaultSettings(), visibility: 'public' },
      usage: { originalBytes: 0, variantBytes: 0, reservedBytes: 0, files: 0, trashBytes: 0 },
      deletedAt: null,
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
      updatedAt: body.createdAt,
    });
    expect((await call('GET', `/projects/${body.id}`)).body).toEqual(body);
  });

  it.each([
    [{}, 400, 'invalid-request', '/name'],
    [{ name: '' }, 400, 'invalid-request', '/name'],
    [{ name: '   ' }, 400, 'invalid-request', '/name'],
    [{ name: 'a\u0000b' }, 400, 'invalid-request', '/name'],
    [{ name: 'a\nb' }, 400, 'invalid-request', '/name'],
    [{ name: 'a\ud800b' }, 400, 'invalid-request', '/name'],
    [{ name: 'x'.repeat(201) }, 400, 'invalid-request', '/name'],
    [{ name: 7 }, 400, 'invalid-request', '/name'],
    [{ name: 'a', ownerId: newId() }, 400, 'invalid-request', '/ownerId'],
    [{ name: 'a', id: newId() }, 400, 'invalid-request', '/id'],
    [{ name: 'a', settings: { visible: true } }, 422, 'invalid-settings', '/settings/visible'],
    [{ name: 'a', settings: null }, 422, 'invalid-settings', '/settings'],
    [
      { name: 'a', settings: { variants: { files: { width: 1 } } } },
      422,
      'invalid-settings',
      '/settings/variants/files',
    ],
  ])('%j is refused', async (body, status, code, pointer) => {
    const answer = await call('POST', '/projects', body);
    expect(answer).toMatchObject({ status, body: { code, errors: [{ pointer }] } });
    expect(answer.headers['content-type']).toMatch('application/problem+json');
  });

  it.each([
    ['[]', 400, 'invalid-request'],
    ['null', 400, 'invalid-request'],
    ['{"name":', 400, 'malformed-body'],
    ['{"name":"a","__proto__":{"x":1}}', 400, 'malformed-body'],
    ['', 400, 'malformed-body'],
    [JSON.stringify({ name: 'a', settings: 'x'.repeat(300_000) }), 413, 'body-too-large'],
  ])('the body %.40s is refused', async (body, status, code) => {
    expect(await call('POST', '/projects', body)).toMatchObject({ status, body: { code } });
  });

  it('refuses other types of body', async () => {
    const answer = await call('POST', '/projects', 'name=a', {
      'content-type': 'application/x-www-form-urlencoded',
    });
    expect(answer).toMatchObject({ status: 415, body: { code: 'unsupported-media-type' } });
  });

  it('needs a person', async () => {
    expect(await api.call('POST', '/projects', { body: { name: 'a' } })).toMatchObject({ status: 401 });
    const { key } = await api.createKey(owner, await api.createProject(owner), ['project:write']);
    expect(await api.call('POST', '/projects', { token: key, body: { name: 'a' } })).toMatchObject({
      status: 403,
    });
  });
});

describe('listing projects', () => {
  it('pages through one’s own, newest first, and tells where the next page is', async () => {
    const lister = await api.register();
    const made: string[] = [];
    for (let n = 0; n < 5; n++) made.unshift(await api.createProject(lister));
    await api.call('DELETE', `/projects/${made[2]}`, { token: lister.token });
    const seen: string[] = [];
    let path: string | undefined = '/projects?limit=2';
    let pages = 0;
    while (path !== undefined) {
      const { status, body, ids, headers } = await api.call('GET', path, { token: lister.token });
      expect(status).toBe(200);
      seen.push(...ids);
      const next = /^<(\?.*)>; rel="next"$/.exec(String(headers['link'] ?? ''))?.[1];
      path = next === undefined ? undefined : `/projects${next}`;
      expect(path === undefined).toBe(body.nextCursor === null);
      pages++;
    }
    expect(seen).toEqual(made.filter((_, index) => index !== 2));
    expect(pages).toBe(2);
  });

  it.each([
    'limit=0',
    'limit=101',
    'limit=x',
    'limit=',
    'limit=1.5',
    'limit=1&limit=2',
    'cursor=!',
    'cursor=',
    'api_key=x',
  ])('?%s is refused', async (query) => {
    expect(await call('GET', `/projects?${query}`)).toMatchObject({
      status: 400,
      body: { code: 'invalid-request', errors: [{ pointer: expect.stringMatching(/^#\/query\//) }] },
    });
  });
});

describe('changing a project', () => {
  it('keeps what is not given, and tells the rooms above what was', async () => {
    const id = await api.createProject(owner, { visibility: 'public', quota: { bytes: 9 } });
    events.length = 0;
    const renamed = await call('PUT', `/projects/${id}`, { name: 'New' });
    expect(renamed).toMatchObject({
      status: 200,
      headers: { etag: '"2"' },
      body: { name: 'New', settings: { visibility: 'public', quota: { bytes: 9 } } },
    });
    expect(events).toEqual([]);
    const changed = await call('PUT', `/projects/${id}`, { settings: { visibility: 'private' } });
    expect(changed).toMatchObject({
      status: 200,
      headers: { etag: '"3"' },
      body: { name: 'New', settings: { visibility: 'private', quota: { bytes: 9 } } },
    });
    expect(events).toMatchObject([
      {
        kind: 'changed',
        project: { id, version: 3 },
        before: { version: 2, settings: { visibility: 'public' } },
      },
    ]);
  });

  it('is undone when a room above cannot follow', async () => {
    const id = await api.createProject(owner);
    refuse = new Error('no');
    try {
      expect(await call('PUT', `/projects/${id}`, { settings: { visibility: 'public' } })).toMatchObject({
        status: 500,
        body: { code: 'internal-error' },
      });
      expect(await call('DELETE', `/projects/${id}`)).toMatchObject({ status: 500 });
    } finally {
      refuse = undefined;
    }
    expect(await call('GET', `/projects/${id}`)).toMatchObject({
      status: 200,
      headers: { etag: '"1"' },
      body: { settings: { visibility: 'private' } },
    });
  });

  it('honours If-Match', async () => {
    const id = await api.createProject(owner);
    const put = (tag: string) => call('PUT', `/projects/${id}`, { name: 'x' }, { 'if-match': tag });
    expect(await put('"2"')).toMatchObject({ status: 412, body: { code: 'precondition-failed' } });
    expect(await put('W/"1"')).toMatchObject({ status: 412 });
    expect(await put('"1"')).toMatchObject({ status: 200, headers: { etag: '"2"' } });
    expect(await put('"1"')).toMatchObject({ status: 412 });
    expect(await put('"7", "2"')).toMatchObject({ status: 200 });
    expect(await put('*')).toMatchObject({ status: 200, headers: { etag: '"4"' } });
    expect(await call('DELETE', `/projects/${id}`, undefined, { 'if-match': '"1"' })).toMatchObject({
      status: 412,
    });
  });

  it('lets one of many who read the same version win', async () => {
    const id = await api.createProject(owner);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        call('PUT', `/projects/${id}`, { name: `n${n}` }, { 'if-match': '"1"' }),
      ),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 412, 412, 412, 412, 412, 412, 412]);
  });

  it.each([
    [{ name: '' }, 400, '/name'],
    [{ version: 3 }, 400, '/version'],
    [{ settings: { quota: { bytes: -1 } } }, 422, '/settings/quota/bytes'],
  ])('%j is refused', async (body, status, pointer) => {
    const id = await api.createProject(owner);
    expect(await call('PUT', `/projects/${id}`, body)).toMatchObject({
      status,
      body: { errors: [{ pointer }] },
    });
  });
});

describe('deleting a project', () => {
  it('closes it at once, on every path and for every credential', async () => {
    const id = await api.createProject(owner);
    const { key } = await api.createKey(owner, id, ['project:read']);
    events.length = 0;
    expect(await api.call('GET', `/projects/${id}`, { token: key })).toMatchObject({ status: 200 });
    expect(await call('DELETE', `/projects/${id}`)).toMatchObject({ status: 204, body: undefined });
    expect(events).toMatchObject([{ kind: 'deleted', project: { id } }]);
    const never = await call('GET', `/projects/${newId()}`);
    for (const answer of [
      await call('GET', `/projects/${id}`),
      await call('PUT', `/projects/${id}`, { name: 'x' }),
      await call('DELETE', `/projects/${id}`),
      await call('GET', `/projects/${id}/usage`),
      await call('GET', `/projects/${id}/keys`),
      await call('POST', `/projects/${id}/keys`, { name: 'x' }),
      await api.call('GET', `/projects/${id}`, { token: key }),
    ]) {
      expect(answer).toMatchObject({ status: 404, text: never.text });
    }
    expect(await findProject(api.database.db, id)).toBeUndefined();
  });
});

describe('what others see', () => {
  it('is the answer for an id that never was, whatever they send', async () => {
    const id = await api.createProject(owner);
    const foreign = await api.createKey(stranger, await api.createProject(stranger), ['project:write']);
    for (const [method, body] of [
      ['GET', undefined],
      ['HEAD', undefined],
      ['PUT', { name: 'x' }],
      ['PUT', { settings: { wrong: 1 } }],
      ['DELETE', undefined],
    ] as const) {
      for (const token of [stranger.token, foreign.key]) {
        const request = { token, ...(body ? { body } : {}) };
        const answer = await api.call(method, `/projects/${id}`, request);
        const never = await api.call(method, `/projects/${newId()}`, request);
        expect(answer).toMatchObject({ status: 404, text: never.text });
      }
    }
    expect(await call('GET', `/projects/${id}`)).toMatchObject({ status: 200, headers: { etag: '"1"' } });
  });
});

it('usage tells what the counter holds', async () => {
  const id = await api.createProject(owner);
  await api.database.pool.query(
    'UPDATE project_usage SET original_bytes = 6000000000, variant_bytes = 2, reserved_bytes = 3, file_count = 4 WHERE project_id = $1',
    [id],
  );
  const usage = { originalBytes: 6_000_000_000, variantBytes: 2, reservedBytes: 3, files: 4 };
  expect(await call('GET', `/projects/${id}/usage`)).toMatchObject({ status: 200, body: usage });
  expect(await call('GET', `/projects/${id}`)).toMatchObject({ body: { usage } });
});
