import { createAccessTokens } from '../../src/features/accounts/access-tokens.js';
import { scopes, type Role, type Scope } from '../../src/features/access/permissions.js';
import { systemClock } from '../../src/foundation/clock.js';
import { newId } from '../../src/foundation/ids.js';
import { accessSecret, openRealApp, type RealApp } from '../real-app.js';

/** The projects of the scene: the one that is asked about, somebody else's, and one in the trash. */
export const places = ['own', 'foreign', 'trash'] as const;
export type Place = (typeof places)[number];

/** Ids and secrets of everything in one project, by the names of path parameters. */
export interface Things {
  readonly project: string;
  readonly file: string;
  /** In the trash. */
  readonly binned: string;
  /** Waits. */
  readonly job: string;
  /** Was given up. */
  readonly deadJob: string;
  readonly deletion: string;
  readonly regeneration: string;
  readonly import: string;
  readonly upload: string;
  readonly tus: string;
  readonly key: string;
  readonly invitation: string;
  /** An editor of this project alone, who makes no request. */
  readonly member: string;
}

/** Whoever sends a request of the matrix. */
export interface Credential {
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  /** `invalid`: something that proves nothing, any more or yet. */
  readonly kind: 'nobody' | 'invalid' | 'user' | 'key';
  readonly admin?: boolean;
  /** What a person is in the projects. */
  readonly roles?: Partial<Record<Place, Role>>;
  readonly key?: { readonly place: Place; readonly scopes: readonly Scope[] };
  /** A session of the person beside the one that asks, and the password's owner. */
  readonly sessionId?: string;
  readonly email?: string;
}

/** One server with three equal projects, and everybody who might ask for something. */
export interface MatrixScene extends RealApp {
  readonly things: Readonly<Record<Place, Things>>;
  readonly credentials: readonly Credential[];
  /** An invitation to the server. */
  readonly serverInvitation: string;
  /** A person with nothing to do with the projects, whom administrators manage. */
  readonly person: string;
  /** Of the owner. */
  readonly refreshToken: string;
  /** Sends a request that must succeed, and returns its JSON. */
  made(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body?: unknown,
  ): Promise<Made>;
}

/** What the scene looks at of the answers that made it. */
export interface Made {
  readonly id: string;
  readonly user: { readonly id: string };
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly sessionId: string;
  readonly token: string;
  readonly key: string;
  readonly data: readonly [{ readonly id: string }];
  readonly location: string;
}

export const password = 'correct-horse-battery';

/** The smallest picture that there is. */
export const pixel = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Opens the app and fills it through its own API. */
export async function openMatrixScene(env: Readonly<Record<string, string>> = {}): Promise<MatrixScene> {
  const real = await openRealApp(env);
  try {
    return await fill(real);
  } catch (error) {
    await real.close();
    throw error;
  }
}

async function fill(real: RealApp): Promise<MatrixScene> {
  const made: MatrixScene['made'] = async (method, path, headers, body) => {
    const isBytes = Buffer.isBuffer(body);
    const answer = await real.app.inject({
      method: method as 'GET',
      url: path,
      headers: {
        ...(body === undefined || isBytes ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: isBytes ? body : JSON.stringify(body) }),
    });
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${answer.body}`);
    const location = answer.headers.location;
    const found = (answer.body === '' ? {} : JSON.parse(answer.body)) as Made;
    return { ...found, location: String(location) };
  };
  const register = async (name: string) => {
    const email = `${name}@example.com`;
    const first = await made('POST', '/auth/register', {}, { email, password });
    const second = await made('POST', '/auth/login', {}, { email, password });
    return {
      id: first.user.id,
      email,
      headers: bearer(first.accessToken),
      sessionId: second.sessionId,
      firstSession: first.sessionId,
      refreshToken: second.refreshToken,
    };
  };

  const admin = await register('admin');
  const owner = await register('owner');
  const other = await register('other');
  const viewer = await register('viewer');
  const editor = await register('editor');
  const person = await register('person');
  const disabled = await register('disabled');
  const leaver = await register('leaver');

  const owners = { own: owner, foreign: other, trash: owner };
  const things = {} as Record<Place, Things>;
  const fullKeys = {} as Record<Place, string>;
  for (const place of places) {
    const { headers } = owners[place];
    const { id: project } = await made('POST', '/projects', headers, { name: place });
    const at = `/projects/${project}`;
    const join = async (who: { readonly headers: Readonly<Record<string, string>> }, role: Role) => {
      const { token } = await made('POST', `${at}/invitations`, headers, { role });
      await made('POST', '/invitations/accept', who.headers, { token });
    };
    const member = await register(`member-of-${place}`);
    await join(member, 'editor');
    if (place !== 'foreign') {
      await join(viewer, 'viewer');
      await join(editor, 'editor');
      await join(disabled, 'editor');
    }
    const png = { ...headers, 'content-type': 'image/png' };
    const file = await made('PUT', `${at}/upload?filename=a.png`, png, pixel);
    const binned = await made('PUT', `${at}/upload?filename=b.png`, png, pixel);
    await made('DELETE', `/files/${binned.id}`, headers);
    const deletion = await made('POST', `${at}/files/delete`, headers, { ids: [newId()] });
    const regeneration = await made('POST', `${at}/variants/regenerate`, headers, {});
    const ordered = await made('POST', `${at}/import`, headers, { url: 'https://example.com/a.png' });
    const upload = await made('POST', `${at}/uploads`, headers, {
      filename: 'c.txt',
      size: 3,
      via: 'multipart',
    });
    const tus = await made('POST', `${at}/tus`, {
      ...headers,
      'tus-resumable': '1.0.0',
      'upload-length': '3',
    });
    const key = await made('POST', `${at}/keys`, headers, { name: 'full', scopes });
    const invitation = await made('POST', `${at}/invitations`, headers, { role: 'viewer' });
    const jobs = await made('GET', `${at}/jobs`, headers);
    fullKeys[place] = key.key;
    things[place] = {
      project,
      file: file.id,
      binned: binned.id,
      job: jobs.data[0].id,
      deadJob: await addDeadJob(real, project),
      deletion: deletion.id,
      regeneration: regeneration.id,
      import: ordered.id,
      upload: upload.id,
      tus: tus.location.split('/').at(-1) ?? '',
      key: key.id,
      invitation: invitation.id,
      member: member.id,
    };
  }

  const own = `/projects/${things.own.project}`;
  const keyOf = async (...given: readonly Scope[]): Promise<{ id: string; key: string }> =>
    made('POST', `${own}/keys`, owner.headers, { name: given.join(), scopes: given });
  const reader = await keyOf('files:read');
  const uploader = await keyOf('files:create');
  const settler = await keyOf('project:read');
  const revoked = await keyOf(...scopes);
  await made('DELETE', `${own}/keys/${revoked.id}`, owner.headers);
  const off = await keyOf(...scopes);
  await made('PATCH', `${own}/keys/${off.id}`, owner.headers, { enabled: false });
  const expiredKey = await keyOf(...scopes);
  await real.database.pool.query(`UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = $1`, [
    expiredKey.id,
  ]);
  const { id: serverInvitation } = await made('POST', '/users/invitations', admin.headers, {});
  // From here on nobody can change anything about them.
  await made('DELETE', `/projects/${things.trash.project}`, owner.headers);
  await made('PATCH', `/users/${disabled.id}`, admin.headers, { disabled: true });
  await made('POST', '/auth/logout', leaver.headers);
  const expired = await expiredToken({ userId: owner.id, sessionId: owner.firstSession });

  const user = (name: string, who: typeof owner, more: Pick<Credential, 'admin' | 'roles'>): Credential => ({
    name,
    kind: 'user',
    headers: who.headers,
    sessionId: who.sessionId,
    email: who.email,
    ...more,
  });
  const invalid = (name: string, headers: Credential['headers']): Credential => ({
    name,
    kind: 'invalid',
    headers,
  });
  const keyCredential = (name: string, text: string, place: Place, given: readonly Scope[]): Credential => ({
    name,
    kind: 'key',
    headers: { 'x-api-key': text },
    key: { place, scopes: given },
  });
  return {
    ...real,
    things,
    serverInvitation,
    person: person.id,
    refreshToken: owner.refreshToken,
    made,
    credentials: [
      { name: 'nobody', kind: 'nobody', headers: {} },
      invalid('expired token', bearer(expired)),
      invalid('token of an ended session', leaver.headers),
      invalid('disabled user', disabled.headers),
      invalid('nonsense', bearer('nonsense')),
      invalid('revoked key', { 'x-api-key': revoked.key }),
      invalid('expired key', { 'x-api-key': expiredKey.key }),
      invalid('disabled key', { 'x-api-key': off.key }),
      user('other user', other, { roles: { foreign: 'owner' } }),
      user('administrator', admin, { admin: true }),
      user('viewer', viewer, { roles: { own: 'viewer', trash: 'viewer' } }),
      user('editor', editor, { roles: { own: 'editor', trash: 'editor' } }),
      user('owner', owner, { roles: { own: 'owner', trash: 'owner' } }),
      keyCredential('other project’s key', fullKeys.foreign, 'foreign', scopes),
      keyCredential('key of a deleted project', fullKeys.trash, 'trash', scopes),
      keyCredential('full key', fullKeys.own, 'own', scopes),
      keyCredential('read-only key', reader.key, 'own', ['files:read']),
      keyCredential('upload-only key', uploader.key, 'own', ['files:create']),
      keyCredential('settings key', settler.key, 'own', ['project:read']),
    ],
  };
}

/** A job that was given up; nothing runs here that could fail. */
async function addDeadJob({ database }: RealApp, projectId: string): Promise<string> {
  const id = newId();
  await database.pool.query(
    `INSERT INTO finished_jobs (id, kind, state, payload, project_id, lane, attempt, error, created_at)
     VALUES ($1, 'render-variants', 'dead', '{}', $2, 1, 3, 'it failed', now())`,
    [id, projectId],
  );
  return id;
}

/** A token that was right an hour ago. */
async function expiredToken(claims: {
  readonly userId: string;
  readonly sessionId: string;
}): Promise<string> {
  const tokens = await createAccessTokens({
    secrets: [accessSecret],
    issuer: 'http://localhost:8420',
    lifetimeSeconds: 60,
    clock: { now: () => systemClock.now() - 3_600_000 },
  });
  return tokens.sign(claims);
}
