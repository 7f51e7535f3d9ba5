import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestApi, type Member, type TestApi } from '../../../../test/api.js';
import { newId } from '../../../foundation/ids.js';

let api: TestApi;
let owner: Member;
let stranger: Member;

beforeAll(async () => {
  api = await createTestApi();
  owner = await api.register();
  stranger = await api.register();
});
afterAll(() => api.close());

const call = (who: Member, method: string, path: string, body?: unknown) =>
  api.call(method, path, { token: who.token, ...(body === undefined ? {} : { body }) });
const invite = (projectId: string, role: string, expiresIn?: number) =>
  call(owner, 'POST', `/projects/${projectId}/invitations`, {
    role,
    ...(expiresIn === undefined ? {} : { expiresIn }),
  });
const accept = (who: Member, token: string) => call(who, 'POST', '/invitations/accept', { token });
const readAs = (who: Member, projectId: string) => call(who, 'GET', `/projects/${projectId}`);

/** A project with an editor and a viewer beside its owner. */
async function shared(): Promise<{ projectId: string; editor: Member; viewer: Member }> {
  const projectId = await api.createProject(owner);
  const [editor, viewer] = [await api.register(), await api.register()];
  await accept(editor, (await invite(projectId, 'editor')).body.token);
  await accept(viewer, (await invite(projectId, 'viewer')).body.token);
  return { projectId, editor, viewer };
}

describe('an invitation', () => {
  it('makes whoever follows it first a member', async () => {
    const projectId = await api.createProject(owner);
    const made = await invite(projectId, 'viewer');
    expect(made).toMatchObject({ status: 201, body: { role: 'viewer', token: expect.any(String) } });
    expect(made.body.url).toBe(`http://localhost:8420/console/invitation#token=${made.body.token}`);
    const guest = await api.register();
    expect(await readAs(guest, projectId)).toMatchObject({ status: 404 });
    expect(await accept(guest, made.body.token)).toMatchObject({
      status: 200,
      body: { projectId, name: 'Test', role: 'viewer' },
    });
    expect(await readAs(guest, projectId)).toMatchObject({ status: 200, body: { role: 'viewer' } });
    expect(await accept(stranger, made.body.token)).toMatchObject({ status: 404 });
    expect(await readAs(stranger, projectId)).toMatchObject({ status: 404 });
  });

  it('that ten follow at once is one person’s', async () => {
    const projectId = await api.createProject(owner);
    const { token } = (await invite(projectId, 'editor')).body;
    const guests = await Promise.all(Array.from({ length: 10 }, () => api.register()));
    const answers = await Promise.all(guests.map((guest) => accept(guest, token)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, ...Array<number>(9).fill(404)]);
    expect((await call(owner, 'GET', `/projects/${projectId}/members`)).ids).toHaveLength(2);
  });

  it('ends with its time, with its project, and when it is withdrawn', async () => {
    const projectId = await api.createProject(owner);
    const late = await invite(projectId, 'viewer', 60);
    await api.database.pool.query('UPDATE project_invitations SET expires_at = now() WHERE id = $1', [
      late.body.id,
    ]);
    const withdrawn = await invite(projectId, 'viewer');
    const list = await call(owner, 'GET', `/projects/${projectId}/invitations`);
    expect(list.ids).toEqual([withdrawn.body.id]);
    expect(list.text).not.toContain(withdrawn.body.token);
    const path = `/projects/${projectId}/invitations/${withdrawn.body.id}`;
    expect(await call(owner, 'DELETE', path)).toMatchObject({ status: 204 });
    expect(await call(owner, 'DELETE', path)).toMatchObject({ status: 404 });
    const orphaned = await invite(projectId, 'viewer');
    await call(owner, 'DELETE', `/projects/${projectId}`);
    const never = await accept(stranger, 'x'.repeat(43));
    expect(never.status).toBe(404);
    for (const { body } of [late, withdrawn, orphaned]) {
      expect(await accept(stranger, body.token)).toMatchObject({ status: 404, text: never.text });
    }
    expect(await accept(stranger, 'x')).toMatchObject({ status: 404, text: never.text });
  });

  it('is not used up by somebody who is in already', async () => {
    const { projectId, editor } = await shared();
    const { token } = (await invite(projectId, 'viewer')).body;
    for (const who of [owner, editor]) expect(await accept(who, token)).toMatchObject({ status: 409 });
    expect(await readAs(editor, projectId)).toMatchObject({ body: { role: 'editor' } });
    expect(await accept(await api.register(), token)).toMatchObject({ status: 200 });
  });

  it.each([
    [{}, '/role'],
    [{ role: 'owner' }, '/role'],
    [{ role: 'viewer', expiresIn: 1 }, '/expiresIn'],
    [{ role: 'viewer', userId: newId() }, '/userId'],
  ])('%j is refused', async (body, pointer) => {
    const projectId = await api.createProject(owner);
    const answer = await call(owner, 'POST', `/projects/${projectId}/invitations`, body);
    expect(answer.status).toBe(400);
    expect(answer.pointers).toContain(pointer);
  });
});

describe('members', () => {
  it('find the project in their list, with their role', async () => {
    const { projectId, editor, viewer } = await shared();
    const own = await api.createProject(editor);
    expect((await call(editor, 'GET', '/projects')).ids).toEqual([own, projectId]);
    expect((await call(viewer, 'GET', '/projects')).body.data).toMatchObject([
      { id: projectId, role: 'viewer', ownerId: owner.userId },
    ]);
    const first = await call(editor, 'GET', '/projects?limit=1');
    const next = await call(editor, 'GET', `/projects?limit=1&cursor=${first.body.nextCursor}`);
    expect([...first.ids, ...next.ids]).toEqual([own, projectId]);
  });

  it('see one another; nobody else does', async () => {
    const { projectId, editor, viewer } = await shared();
    const { body } = await call(viewer, 'GET', `/projects/${projectId}/members`);
    expect(body.data).toMatchObject([
      { id: viewer.userId, role: 'viewer' },
      { id: editor.userId, role: 'editor', email: editor.email },
      { id: owner.userId, role: 'owner' },
    ]);
    expect(await call(stranger, 'GET', `/projects/${projectId}/members`)).toMatchObject({ status: 404 });
  });

  it('have nothing to say about others', async () => {
    const { projectId, editor, viewer } = await shared();
    for (const who of [editor, viewer]) {
      for (const [method, path, body] of [
        ['POST', '/invitations', { role: 'editor' }],
        ['GET', '/invitations', undefined],
        ['PATCH', `/members/${who.userId}`, { role: 'editor' }],
        ['DELETE', `/members/${viewer.userId}`, undefined],
        ['POST', '/transfer', { userId: who.userId }],
        ['POST', '/keys', { name: 'x' }],
        ['DELETE', '', undefined],
      ] as const) {
        const answer = await call(who, method, `/projects/${projectId}${path}`, body);
        expect(answer).toMatchObject({ status: 403 });
      }
    }
  });

  it('are given another role and taken out at once', async () => {
    const { projectId, editor, viewer } = await shared();
    const member = (who: Member) => `/projects/${projectId}/members/${who.userId}`;
    expect(await call(owner, 'PATCH', member(viewer), { role: 'editor' })).toMatchObject({ status: 204 });
    expect(await readAs(viewer, projectId)).toMatchObject({ body: { role: 'editor' } });
    expect(await call(owner, 'DELETE', member(editor))).toMatchObject({ status: 204 });
    expect(await readAs(editor, projectId)).toMatchObject({ status: 404 });
    expect((await call(editor, 'GET', '/projects')).ids).toEqual([]);
    for (const id of [editor.userId, newId(), 'x']) {
      const path = `/projects/${projectId}/members/${id}`;
      expect(await call(owner, 'DELETE', path)).toMatchObject({ status: 404 });
      expect(await call(owner, 'PATCH', path, { role: 'viewer' })).toMatchObject({ status: 404 });
    }
    expect(await call(owner, 'DELETE', member(owner))).toMatchObject({ status: 409 });
    expect(await call(owner, 'PATCH', member(owner), { role: 'viewer' })).toMatchObject({ status: 409 });
  });

  it('leave when they like; the owner may not', async () => {
    const { projectId, viewer } = await shared();
    const path = `/projects/${projectId}/membership`;
    expect(await call(viewer, 'DELETE', path)).toMatchObject({ status: 204 });
    expect(await readAs(viewer, projectId)).toMatchObject({ status: 404 });
    expect(await call(owner, 'DELETE', path)).toMatchObject({ status: 403 });
  });
});

describe('handing a project over', () => {
  it('makes a member the owner and the owner an editor', async () => {
    const { projectId, viewer } = await shared();
    const path = `/projects/${projectId}/transfer`;
    for (const userId of [stranger.userId, newId()]) {
      expect(await call(owner, 'POST', path, { userId })).toMatchObject({ status: 404 });
    }
    expect(await call(owner, 'POST', path, { userId: viewer.userId })).toMatchObject({ status: 204 });
    expect(await readAs(viewer, projectId)).toMatchObject({
      body: { role: 'owner', ownerId: viewer.userId },
    });
    expect(await readAs(owner, projectId)).toMatchObject({ body: { role: 'editor' } });
    expect(await call(owner, 'DELETE', `/projects/${projectId}`)).toMatchObject({ status: 403 });
  });

  it('to somebody who was disabled is refused, and changes nothing', async () => {
    const { projectId, viewer } = await shared();
    await api.database.pool.query('UPDATE users SET disabled_at = now() WHERE id = $1', [viewer.userId]);
    const body = { userId: viewer.userId };
    expect(await call(owner, 'POST', `/projects/${projectId}/transfer`, body)).toMatchObject({ status: 404 });
    expect((await call(owner, 'GET', `/projects/${projectId}/members`)).ids).toContain(viewer.userId);
  });

  it('in two directions at once leaves one owner', async () => {
    const { projectId, editor, viewer } = await shared();
    const answers = await Promise.all(
      [editor, viewer].map(({ userId }) =>
        call(owner, 'POST', `/projects/${projectId}/transfer`, { userId }),
      ),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([204, 403]);
    const { body } = await call(editor, 'GET', `/projects/${projectId}/members`);
    const roles = (body.data as { role: string }[]).map(({ role }) => role).toSorted();
    expect(roles).toHaveLength(3);
    expect(roles.filter((role) => role === 'owner')).toHaveLength(1);
  });
});
