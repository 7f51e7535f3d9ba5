import type { LightMyRequestResponse } from 'fastify';

import type { Identify } from '../src/features/access/caller.js';
import { guardRoutes } from '../src/features/access/guard.js';
import { createAccounts, type AccountsOptions } from '../src/features/accounts/accounts.js';
import { recordRequests } from '../src/features/audit/recorder.js';
import { auditRoutes } from '../src/features/audit/routes.js';
import { createKeys } from '../src/features/keys/keys.js';
import type { ProjectsOptions } from '../src/features/projects/operations.js';
import { createProjects } from '../src/features/projects/projects.js';
import type { Clock } from '../src/foundation/clock.js';
import type { Database, Db } from '../src/foundation/database/connect.js';
import { createApp, type App, type Routes } from '../src/foundation/http/app.js';
import { createLog } from '../src/foundation/log.js';
import { createTestDatabase } from './database.js';

/** A clock that tests move; it begins at the real time, because the database's clock cannot be moved. */
export interface TestClock extends Clock {
  advance(ms: number): void;
}

export function createTestClock(): TestClock {
  let ahead = 0;
  return {
    now: () => Date.now() + ahead,
    advance(ms) {
      ahead += ms;
    },
  };
}

export interface TestApiOptions extends Partial<
  Pick<AccountsOptions, 'registration' | 'loginLimits' | 'publicUrl' | 'jwtSecrets' | 'sendsMail'>
> {
  readonly projects?: Pick<
    ProjectsOptions,
    'onDeleted' | 'onPurged' | 'onRestored' | 'onSettingsChanged' | 'settingsChangesSchema'
  >;
  /** A second application on the database of the first. */
  readonly beside?: TestApi;
  /** Further routes and credentials. */
  readonly routes?: readonly Routes[] | ((db: Db) => readonly Routes[]);
  readonly identify?: readonly Identify[];
  /** Receives every log line. */
  readonly onLogLine?: (line: string) => void;
}

export interface TestRequest {
  /** Access token or API key for `Authorization: Bearer`. */
  readonly token?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** JSON that tests look into, as loosely typed as `JSON.parse` leaves it. */
export type Json = ReturnType<typeof JSON.parse>;

export interface TestAnswer {
  readonly status: number;
  /** The JSON of the body; undefined when there is none. */
  readonly body: Json;
  readonly headers: LightMyRequestResponse['headers'];
  /** What the answer complains about: the pointers of a problem's `errors`. */
  readonly pointers: readonly string[];
  /** The ids of a list's items. */
  readonly ids: readonly string[];
  /** The body's text without its request id: equal answers have equal texts. */
  readonly text: string;
}

export interface Member {
  readonly email: string;
  readonly userId: string;
  readonly token: string;
  readonly refreshToken: string;
}

/** Accounts, projects and keys behind the guard, on a database of their own. */
export interface TestApi {
  readonly app: App;
  readonly database: Database;
  readonly clock: TestClock;
  call(method: string, path: string, request?: TestRequest): Promise<TestAnswer>;
  /** A new account; each call makes another. */
  register(): Promise<Member>;
  /** A new project of that person. */
  createProject(owner: Member, settings?: unknown): Promise<string>;
  createKey(
    owner: Member,
    projectId: string,
    scopes?: readonly string[],
  ): Promise<{ id: string; key: string }>;
  close(): Promise<void>;
}

export const testPassword = 'correct-horse-battery';

export async function createTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const own = options.beside ? undefined : await createTestDatabase();
  const database = options.beside?.database ?? own?.database;
  if (!database) throw new Error('no database');
  const { db } = database;
  const clock = createTestClock();
  const { onLogLine } = options;
  const log = await createLog({
    level: onLogLine ? 'trace' : 'silent',
    pretty: false,
    ...(onLogLine ? { destination: { write: (line: string) => onLogLine(line) } } : {}),
  });
  const publicUrl = options.publicUrl ?? 'http://localhost:8420';
  const accounts = await createAccounts({
    db,
    log,
    clock,
    jwtSecrets: options.jwtSecrets ?? ['a secret that is only good for tests, 32 bytes'],
    publicUrl,
    pagesUrl: `${publicUrl}/console`,
    sendsMail: options.sendsMail ?? false,
    removeProjectsOf: (userId) => projects.removeAllOf(userId),
    accessTokenSeconds: 900,
    refreshTokenSeconds: 30 * 86_400,
    registration: options.registration ?? 'open',
    parallelHashes: 2,
    // The cost is OWASP's minimum in production; here it would only take time.
    hashCost: { memoryKib: 64, passes: 1 },
    loginLimits: options.loginLimits ?? {},
  });
  const keys = createKeys({ db, log, clock });
  const app = createApp({ log, trustedProxies: [] });
  guardRoutes(app, { db, identify: [keys.identify, accounts.identify, ...(options.identify ?? [])] });
  recordRequests(app, { db, log });
  const projects = createProjects({
    db,
    log,
    publicUrl,
    pagesUrl: `${publicUrl}/console`,
    ...options.projects,
  });
  const further = typeof options.routes === 'function' ? options.routes(db) : (options.routes ?? []);
  for (const routes of [accounts.routes, projects.routes, keys.routes, auditRoutes(db), ...further])
    routes(app);
  await app.ready();

  let people = 0;
  async function call(method: string, path: string, request: TestRequest = {}): Promise<TestAnswer> {
    const answer = await app.inject({
      method: method as 'GET',
      url: path,
      headers: {
        ...(request.token === undefined ? {} : { authorization: `Bearer ${request.token}` }),
        ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...request.headers,
      },
      ...(request.body === undefined
        ? {}
        : { payload: typeof request.body === 'string' ? request.body : JSON.stringify(request.body) }),
    });
    const isJson = answer.headers['content-type']?.toString().includes('ndjson') !== true;
    const body = (answer.body === '' || !isJson ? undefined : JSON.parse(answer.body)) as
      { errors?: { pointer: string }[]; data?: { id: string }[] } | undefined;
    return {
      status: answer.statusCode,
      body,
      pointers: body?.errors?.map(({ pointer }) => pointer) ?? [],
      ids: body?.data?.map(({ id }) => id) ?? [],
      headers: answer.headers,
      text: answer.body.replace(/"requestId":"[^"]*"/, '"requestId":""'),
    };
  }
  async function made<T>(path: string, request: TestRequest): Promise<T> {
    const { status, body } = await call('POST', path, request);
    if (status !== 201) throw new Error(`POST ${path} answered ${status}: ${JSON.stringify(body)}`);
    return body as T;
  }

  return {
    app,
    database,
    clock,
    call,
    async register() {
      const email = `person-${people++}@example.com`;
      const body = await made<{ user: { id: string }; accessToken: string; refreshToken: string }>(
        '/auth/register',
        { body: { email, password: testPassword } },
      );
      return { email, userId: body.user.id, token: body.accessToken, refreshToken: body.refreshToken };
    },
    async createProject(owner, settings) {
      const body = { name: 'Test', ...(settings === undefined ? {} : { settings }) };
      return (await made<{ id: string }>('/projects', { token: owner.token, body })).id;
    },
    async createKey(owner, projectId, scopes) {
      const body = { name: 'Test', ...(scopes ? { scopes } : {}) };
      return made(`/projects/${projectId}/keys`, { token: owner.token, body });
    },
    async close() {
      await app.close();
      await own?.close();
    },
  };
}
