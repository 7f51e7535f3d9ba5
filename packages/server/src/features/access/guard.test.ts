import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createTestDatabase, type TestDatabase } from '../../../test/database.js';
import { createApp, type App } from '../../foundation/http/app.js';
import { newId } from '../../foundation/ids.js';
import { createLog } from '../../foundation/log.js';
import type { Caller } from './caller.js';
import { guardRoutes, targetOf } from './guard.js';
import { permissions, type Permission } from './permissions.js';

/** Tells what the guard found; stands for every handler. */
const paths: Record<Permission, { readonly method: 'GET' | 'POST'; readonly path: string }> = {
  anyone: { method: 'POST', path: '/auth/login' },
  account: { method: 'GET', path: '/auth/me' },
  'users:manage': { method: 'GET', path: '/users' },
  'audit:server': { method: 'GET', path: '/audit' },
  'audit:read': { method: 'GET', path: '/projects/:id/audit' },
  'projects:create': { method: 'POST', path: '/projects' },
  'projects:list': { method: 'GET', path: '/projects' },
  'project:read': { method: 'GET', path: '/projects/:id' },
  'project:write': { method: 'POST', path: '/projects/:id/change' },
  'project:delete': { method: 'POST', path: '/projects/:id/delete' },
  'members:read': { method: 'GET', path: '/projects/:id/members' },
  'members:manage': { method: 'POST', path: '/projects/:id/invitations' },
  'project:leave': { method: 'POST', path: '/projects/:id/leave' },
  'project:transfer': { method: 'POST', path: '/projects/:id/transfer' },
  'keys:manage': { method: 'POST', path: '/projects/:id/keys' },
  'files:read': { method: 'GET', path: '/files/:id' },
  'files:create': { method: 'POST', path: '/projects/:id/upload' },
  'imports:read': { method: 'GET', path: '/projects/:id/imports/one' },
  'files:write': { method: 'POST', path: '/files/:id/change' },
  'files:delete': { method: 'POST', path: '/files/:id/delete' },
  'uploads:signed': { method: 'POST', path: '/staging/upload' },
  'content:read': { method: 'GET', path: '/files/:id/content' },
};
const names = Object.keys(paths) as Permission[];
const onProjects = names.filter((name) => permissions[name].on === 'project');

const owner = newId();
const stranger = newId();
const editor = newId();
const viewer = newId();
const project = { private: newId(), public: newId(), deleted: newId(), foreign: newId() };
type ProjectName = keyof typeof project;
const file: Record<ProjectName | 'trash' | 'uploading' | 'aborted', string> = {
  private: newId(),
  public: newId(),
  deleted: newId(),
  foreign: newId(),
  trash: newId(),
  uploading: newId(),
  aborted: newId(),
};

let testDatabase: TestDatabase;
let app: App;

async function newApp(): Promise<App> {
  return createApp({ log: await createLog({ level: 'silent', pretty: false }), trustedProxies: [] });
}

beforeAll(async () => {
  testDatabase = await createTestDatabase({ poolSize: 2 });
  const { pool, db } = testDatabase.database;
  for (const id of [owner, stranger, editor, viewer]) {
    await pool.query(
      `INSERT INTO users (id, email, email_canonical, password_hash) VALUES ($1, $2, $2, '')`,
      [id, `${id}@example.com`],
    );
  }
  for (const [name, id] of Object.entries(project)) {
    await pool.query(
      `INSERT INTO projects (id, owner_id, name, settings, deleted_at) VALUES ($1, $2, $3, $4, $5)`,
      [
        id,
        name === 'foreign' ? stranger : owner,
        name,
        { visibility: name === 'public' || name === 'deleted' ? 'public' : 'private' },
        name === 'deleted' ? new Date() : null,
      ],
    );
  }
  for (const id of [project.private, project.public, project.deleted]) {
    await pool.query(
      `INSERT INTO project_members (project_id, user_id, role) VALUES ($1, $2, 'editor'), ($1, $3, 'viewer')`,
      [id, editor, viewer],
    );
  }
  for (const [name, id] of Object.entries(file)) {
    const of = name in project ? project[name as ProjectName] : project.public;
    const status = name === 'uploading' || name === 'aborted' ? name : 'ready';
    await pool.query(
      `INSERT INTO files (id, project_id, s3_key, filename, mime_type, size, sha256, status, deleted_at)
       VALUES ($1, $2, $3, 'a.png', 'image/png', 1, $4, $5, $6)`,
      [id, of, `${of}/files/${id}.png`, Buffer.alloc(32), status, name === 'trash' ? new Date() : null],
    );
  }
  app = await newApp();
  // A credential that says outright what it proves; the real ones are tested in their own rooms.
  guardRoutes(app, {
    db,
    identify: [
      async () => undefined,
      async ({ headers }) =>
        typeof headers['x-caller'] === 'string' ? (JSON.parse(headers['x-caller']) as Caller) : undefined,
    ],
  });
  for (const name of names) {
    app.route({
      method: paths[name].method,
      url: paths[name].path,
      config: { permission: name },
      handler: async (request) => request.access,
    });
  }
  await app.ready();
});

afterAll(async () => {
  await app.close();
  await testDatabase.close();
});

async function ask(
  name: Permission,
  id: string,
  caller?: Caller,
  method: 'GET' | 'POST' | 'HEAD' = paths[name].method,
) {
  const answer = await app.inject({
    method,
    url: paths[name].path.replace(':id', id),
    headers: caller ? { 'x-caller': JSON.stringify(caller) } : {},
  });
  return {
    status: answer.statusCode,
    text: answer.body.replace(/"requestId":"[^"]*"/, ''),
    headers: answer.headers,
    access: answer.statusCode === 200 && answer.body !== '' ? answer.json() : undefined,
  };
}

const user = (userId: string, role: 'admin' | 'user' = 'user'): Caller => ({
  kind: 'user',
  userId,
  sessionId: newId(),
  role,
});
const key = (projectId: string, ...scopes: Extract<Caller, { kind: 'key' }>['scopes']): Caller => ({
  kind: 'key',
  keyId: newId(),
  projectId,
  scopes,
});
const link = (fileId: string): Caller => ({ kind: 'link', fileId, variant: null });
/** The id that fits a route's path: of the project, or of its file. */
const idFor = (name: Permission, which: ProjectName) =>
  paths[name].path.startsWith('/files') ? file[which] : project[which];

describe('at start-up', () => {
  const handler = async () => ({});
  it.each([
    ['names no permission', '/files/:id', {}],
    ['names an unknown permission', '/files/:id', { permission: 'files:reed' }],
    ['names an unknown permission', '/files/:id', { permission: 'constructor' }],
    ['its path does not fit', '/projects', { permission: 'project:read' }],
    ['its path does not fit', '/auth/me', { permission: 'files:read' }],
    ['its path does not fit', '/projects/:id/upload', { permission: 'account' }],
    ['its path does not fit', '/files/:id', { permission: 'anyone' }],
    ['first parameter', '/projects/:projectId/upload', { permission: 'account' }],
    ['first parameter', '/files/*', { permission: 'anyone' }],
  ])('a route that %s is refused: %s', async (complaint, url, config) => {
    const broken = await newApp();
    guardRoutes(broken, { db: testDatabase.database.db, identify: [] });
    expect(() => broken.get(url, { config }, handler)).toThrow(complaint);
    await broken.close();
  });

  it('a route that was mounted past the guard does not answer', async () => {
    const broken = await newApp();
    broken.get('/files/:id', handler);
    guardRoutes(broken, { db: testDatabase.database.db, identify: [] });
    expect((await broken.inject('/files/1')).statusCode).toBe(500);
    await broken.close();
  });

  it('the target of a path is told by its pattern', () => {
    expect(targetOf('/projects/:id')).toBe('project');
    expect(targetOf('/projects/:id/keys/:keyId')).toBe('project');
    expect(targetOf('/files/:id/content')).toBe('file');
    expect(targetOf('/projects')).toBe('none');
    expect(targetOf('/filesystem/:id')).toBe('none');
    expect(targetOf('/projects/:identity')).toBe('none');
  });
});

describe('routes about no resource', () => {
  it('anyone comes in without being asked who they are', async () => {
    expect(await ask('anyone', '')).toMatchObject({ status: 200, access: { caller: { kind: 'nobody' } } });
  });

  it.each(['account', 'projects:create', 'projects:list'] as const)('%s is for people only', async (name) => {
    expect(await ask(name, '')).toMatchObject({ status: 401 });
    expect(await ask(name, '', user(owner))).toMatchObject({ status: 200 });
    expect(await ask(name, '', key(project.private, 'project:write'))).toMatchObject({ status: 403 });
    expect(await ask(name, '', link(file.private))).toMatchObject({ status: 403 });
  });
});

it('users:manage is for administrators only, and opens no project to them', async () => {
  expect(await ask('users:manage', '')).toMatchObject({ status: 401 });
  expect(await ask('users:manage', '', user(owner))).toMatchObject({ status: 403 });
  expect(await ask('users:manage', '', key(project.private, 'project:write'))).toMatchObject({ status: 403 });
  expect(await ask('users:manage', '', user(stranger, 'admin'))).toMatchObject({ status: 200 });
  for (const name of onProjects) {
    expect(await ask(name, idFor(name, 'private'), user(stranger, 'admin'))).toMatchObject({ status: 404 });
  }
});

describe.each(onProjects)('%s', (name) => {
  const { keys, links, nobody } = permissions[name];

  it.each([
    ['owner', owner],
    ['editor', editor],
    ['viewer', viewer],
  ] as const)('lets the %s in, or says what is missing, as the table has it', async (role, userId) => {
    const answer = await ask(name, idFor(name, 'private'), user(userId));
    if (!(permissions[name].people as readonly string[]).includes(role)) {
      expect(answer).toMatchObject({ status: 403 });
      expect(answer.text).toContain(role);
      return;
    }
    expect(answer).toMatchObject({
      status: 200,
      access: {
        projectId: project.private,
        fileId: paths[name].path.startsWith('/files') ? file.private : '',
        role,
        visibility: 'private',
      },
    });
    expect(await ask(name, idFor(name, 'foreign'), user(userId))).toMatchObject({ status: 404 });
    // Only its owner may take a project out of the trash.
    expect(await ask(name, idFor(name, 'deleted'), user(userId))).toMatchObject({
      status: name === 'project:delete' ? 200 : 404,
    });
  });

  it('shows others nothing but the answer for an id that never was', async () => {
    const never = await ask(name, newId(), user(stranger));
    expect(never.status).toBe(404);
    for (const id of [
      idFor(name, 'private'),
      idFor(name, 'deleted'),
      'x',
      '%20',
      project.private.toUpperCase(),
    ]) {
      expect(await ask(name, id, user(stranger))).toMatchObject({ status: 404, text: never.text });
    }
    // Its owner may take a project out of the trash.
    const restorable = name === 'project:delete';
    expect(await ask(name, idFor(name, 'deleted'), user(owner))).toMatchObject({
      status: restorable ? 200 : 404,
      text: restorable ? expect.any(String) : never.text,
    });
    expect(await ask(name, idFor(name, 'foreign'), user(owner))).toMatchObject({
      status: 404,
      text: never.text,
    });
  });

  it('asks nobody in without a credential, and tells them nothing', async () => {
    const refused = await ask(name, newId());
    expect(refused).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer' } });
    for (const which of ['private', 'deleted'] as const) {
      expect(await ask(name, idFor(name, which))).toMatchObject({ status: 401, text: refused.text });
    }
    expect(await ask(name, idFor(name, 'public'))).toMatchObject({ status: nobody === 'public' ? 200 : 401 });
  });

  it('takes the keys of the project that have the scope, and no other', async () => {
    const id = idFor(name, 'private');
    const never = await ask(name, newId(), key(project.private, 'files:read'));
    for (const scope of [
      'files:read',
      'files:create',
      'files:write',
      'files:delete',
      'project:read',
      'project:write',
    ] as const) {
      const may = (keys as readonly string[]).includes(scope);
      // A file of a deleted project is closed whatever may be done with the trash.
      const isRestorable = name === 'project:delete';
      expect(await ask(name, id, key(project.private, scope))).toMatchObject({ status: may ? 200 : 403 });
      expect(await ask(name, id, key(project.foreign, scope))).toMatchObject({
        status: 404,
        text: never.text,
      });
      expect(await ask(name, idFor(name, 'deleted'), key(project.deleted, scope))).toMatchObject({
        status: isRestorable && may ? 200 : 404,
      });
    }
    expect(await ask(name, id, key(project.private))).toMatchObject({ status: 403 });
  });

  it('takes a signed link for its own file only, and only for its bytes', async () => {
    const id = idFor(name, 'private');
    const ofFile = paths[name].path.startsWith('/files');
    expect(await ask(name, id, link(file.private))).toMatchObject({
      status: ofFile ? (links ? 200 : 403) : 404,
    });
    expect(await ask(name, id, link(file.foreign))).toMatchObject({ status: 404 });
    expect(await ask(name, idFor(name, 'deleted'), link(file.deleted))).toMatchObject({ status: 404 });
  });
});

describe('files', () => {
  it('in the trash can be taken out by those who may put them in, and exist for nobody else', async () => {
    expect(await ask('files:delete', file.trash, user(owner))).toMatchObject({ status: 200 });
    const never = await ask('files:delete', newId(), user(stranger));
    const hidden = { status: 404, text: never.text };
    expect(await ask('files:delete', file.trash, key(project.public, 'files:delete'))).toMatchObject({
      status: 200,
    });
    for (const caller of [
      user(stranger),
      link(file.trash),
      key(project.public, 'files:write'),
      key(project.foreign),
    ])
      expect(await ask('files:delete', file.trash, caller)).toMatchObject(hidden);
    expect(await ask('files:delete', file.trash)).toMatchObject({ status: 401 });
  });

  it.each(['trash', 'uploading', 'aborted'] as const)('that are %s exist for nobody', async (which) => {
    for (const name of ['files:read', 'files:write', 'files:delete', 'content:read'] as const) {
      if (which === 'trash' && name === 'files:delete') continue;
      const never = await ask(name, newId(), user(owner));
      expect(await ask(name, file[which], user(owner))).toMatchObject({ status: 404, text: never.text });
      expect(await ask(name, file[which])).toMatchObject({ status: 401 });
      expect(await ask(name, file[which], link(file[which]))).toMatchObject({ status: 404 });
      expect(await ask(name, file[which], key(project.public, 'files:write', 'files:delete'))).toMatchObject({
        status: 404,
      });
    }
  });

  it('of a public project give their bytes to everybody and their metadata to nobody else', async () => {
    for (const caller of [
      undefined,
      user(stranger),
      key(project.foreign),
      key(project.public, 'files:create'),
    ]) {
      expect(await ask('content:read', file.public, caller)).toMatchObject({ status: 200 });
    }
    expect(await ask('files:read', file.public, user(stranger))).toMatchObject({ status: 404 });
  });

  it('is not a project, and a project is not a file', async () => {
    expect(await ask('project:read', file.private, user(owner))).toMatchObject({ status: 404 });
    expect(await ask('files:read', project.private, user(owner))).toMatchObject({ status: 404 });
  });
});

it('HEAD is guarded like GET', async () => {
  expect(await ask('content:read', file.private, user(owner), 'HEAD')).toMatchObject({ status: 200 });
  expect(await ask('content:read', file.private, user(stranger), 'HEAD')).toMatchObject({ status: 404 });
  expect(await ask('content:read', file.private, undefined, 'HEAD')).toMatchObject({ status: 401 });
});

it('a path that nothing answers needs no caller', async () => {
  const answer = await app.inject('/nowhere');
  expect(answer.statusCode).toBe(404);
});
