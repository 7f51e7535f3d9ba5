import { readFileSync } from 'node:fs';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { permissions, type Permission } from '../../src/features/access/permissions.js';
import { newId } from '../../src/foundation/ids.js';
import { openRealApp } from '../real-app.js';
import { ask, send, textOf, type Answer, type Twist } from './ask.js';
import { casesOf, inParallel, labelOf, type Case } from './cases.js';
import type { IdSet } from './ids.js';
import { operationsOf, type ApiDocument, type Operation } from './operations.js';
import { openMatrixScene, type MatrixScene, type Things } from './scene.js';
import { takeSnapshot, type Snapshot } from './snapshot.js';

const document = JSON.parse(
  readFileSync(new URL('../../../../openapi.json', import.meta.url), 'utf8'),
) as ApiDocument;

/** Conditions, ranges and promises that must not turn a refusal into anything else. */
const conditions: Twist = {
  headers: {
    'if-none-match': '*',
    'if-modified-since': 'Fri, 01 Jan 2100 00:00:00 GMT',
    range: 'bytes=0-0',
  },
};
const promises: Twist = { headers: { 'if-match': '*' } };
const minutes = 60_000;
/** Of each kind of credential one. */
const askers = ['nobody', 'expired token', 'other user', 'owner', 'full key'];

let scene: MatrixScene;
let snapshot: Snapshot;
let operations: Operation[];
let cases: Case[];

beforeAll(async () => {
  scene = await openMatrixScene();
  snapshot = await takeSnapshot(scene.database);
  operations = operationsOf(scene, document);
  cases = casesOf(scene, operations);
}, 2 * minutes);

afterAll(() => scene.close());

/** The first of them; a fault in one place makes hundreds. */
function expectNone(deviations: readonly string[]): void {
  expect(deviations.slice(0, 10), `${deviations.length} deviations`).toEqual([]);
}

describe('the access matrix', () => {
  it(
    'refuses whom the permission table does not let in, in the words of an id that never existed',
    async () => {
      const deviations: string[] = [];
      const references = new Map<string, Promise<Answer>>();
      const refused = cases.filter(({ verdict }) => verdict !== 'allowed');
      let requests = 0;
      await inParallel(refused, async (one) => {
        const { operation, caller, ids, verdict, equal } = one;
        const twists: Twist[] = [{}];
        if (ids.telling && caller.kind !== 'invalid') {
          twists.push(operation.method === 'GET' ? conditions : promises);
          if (operation.head) twists.push({ method: 'HEAD' });
        }
        for (const twist of twists) {
          const { method = operation.method } = twist;
          const answer = textOf(await ask(scene, operation, caller, ids, twist));
          requests++;
          const key = `${operation.name} ${caller.name} ${equal.name} ${method}`;
          const reference = references.get(key) ?? ask(scene, operation, caller, equal, { method });
          references.set(key, reference);
          const expected = await reference;
          if (expected.status === verdict && textOf(expected) === answer) continue;
          const twisted = JSON.stringify(twist);
          deviations.push(
            `${labelOf(one)} ${twisted}: ${verdict} was expected, and the answer to “${equal.name}”:\n` +
              `${textOf(expected)}\nThe answer was:\n${answer}`,
          );
        }
      });
      expectNone(deviations);
      // A refusal leaves nothing behind.
      expect(await snapshot.changed()).toEqual([]);
      expect(scene.errors).toEqual([]);
      console.log(
        `${operations.length} operations × ${scene.credentials.length} credentials × their ids = ${cases.length} cases, ` +
          `${refused.length} of them refused in ${requests} requests, 0 deviations`,
      );
    },
    3 * minutes,
  );

  it(
    'lets in whom the table lets in',
    async () => {
      const deviations: string[] = [];
      const kinds = new Set<string>();
      for (const one of cases.filter(({ verdict }) => verdict === 'allowed')) {
        const { operation, caller, ids } = one;
        // What needs no credential looks at none: one of each kind shows it.
        const kind = `${operation.name} ${caller.kind}`;
        if (permissions[operation.permission as Permission].nobody === 'yes' && kinds.has(kind)) continue;
        kinds.add(kind);
        const expected = successesOf(one);
        const answer = await ask(scene, operation, caller, ids);
        if (!expected.includes(answer.status)) {
          deviations.push(`${labelOf(one)}: ${expected.join(' or ')} was expected, not ${textOf(answer)}`);
        }
        if (operation.method !== 'GET' && operation.method !== 'HEAD') {
          await snapshot.restore();
        }
      }
      expectNone(deviations);
      expect(scene.errors).toEqual([]);
    },
    3 * minutes,
  );

  it('answers ids in a body that are foreign as it answers those that never existed', async () => {
    const never: Things = { ...scene.things.own, file: newId(), member: newId() };
    const withIds = operations.filter(({ sample }) => sample.idsInBody);
    for (const { operation, caller, ids } of cases) {
      if (caller.name !== 'owner' || ids.name !== 'own' || !withIds.includes(operation)) continue;
      const answers = [];
      for (const things of [never, scene.things.foreign, scene.things.trash]) {
        answers.push(await ask(scene, operation, caller, { ...ids, things }));
        await snapshot.restore();
      }
      const [expected, ...others] = answers.map(({ status, body }) => ({
        status,
        // What is made anew has an id and a moment of its own.
        body: body.replaceAll(/[0-9a-f-]{36}|\d{4}-\d\d-\d\dT[\d:.]+Z/g, '*'),
      }));
      for (const other of others) expect(other, operation.name).toEqual(expected);
    }
    expect(withIds).toHaveLength(3);
  });

  it(
    'takes as many trips to the database for a foreign id as for one that never existed',
    async () => {
      let trips = 0;
      scene.database.pool.on('acquire', () => trips++);
      const deviations: string[] = [];
      const strangers = cases.filter(
        ({ caller, verdict, ids }) =>
          verdict === 404 &&
          ids.telling &&
          ['other user', 'other project’s key', 'viewer'].includes(caller.name),
      );
      for (const one of strangers) {
        const { operation, caller, ids, equal } = one;
        // What is remembered of files for less than a second saves the look-up of one, and that of its members.
        const slack = operation.permission === 'content:read' ? 2 : 0;
        const count = async (set: IdSet): Promise<number> => {
          const before = trips;
          await ask(scene, operation, caller, set);
          return trips - before;
        };
        let difference = Infinity;
        // Credentials are looked up anew now and then: nothing that repeats.
        for (let round = 0; round < 4 && difference > slack; round++) {
          difference = Math.abs((await count(ids)) - (await count(equal)));
        }
        if (difference > slack) deviations.push(`${labelOf(one)}: ${difference} trips more or fewer`);
      }
      expectNone(deviations);
    },
    minutes,
  );

  it('answers OPTIONS alike whoever asks, for whatever id', async () => {
    const deviations: string[] = [];
    const first = new Map<string, string>();
    const asked = cases.filter(({ ids, caller }) => ids.telling && askers.includes(caller.name));
    await inParallel(asked, async (one) => {
      const answer = await ask(scene, one.operation, one.caller, one.ids, { method: 'OPTIONS' });
      const text = textOf(answer);
      const known = first.get(one.operation.path) ?? text;
      first.set(one.operation.path, known);
      if (text !== known || answer.status >= 500 || !isOurs(answer))
        deviations.push(`${labelOf(one)}: ${text}`);
    });
    expectNone(deviations);
  }, 60_000);

  it('answers methods that a path has not alike for every id', async () => {
    const deviations: string[] = [];
    const mounted = new Set(scene.routes.map(({ method, path }) => `${method} ${path}`));
    const strange = cases.filter(
      ({ ids, caller }) => ids.telling && ['nobody', 'other user'].includes(caller.name),
    );
    const first = new Map<string, string>();
    await inParallel(strange, async ({ operation, caller, ids }) => {
      for (const method of ['GET', 'PUT', 'POST', 'PATCH', 'DELETE']) {
        const where = `${method} ${operation.path}`;
        if (mounted.has(where)) continue;
        const answer = await ask(scene, operation, caller, ids, { method });
        const text = textOf(answer);
        const key = `${where} ${caller.name}`;
        const known = first.get(key) ?? text;
        first.set(key, known);
        // Another route may fit the path, as /users/invitations fits that of a person.
        if (text !== known || ![405, 404, 401, 403].includes(answer.status) || !isOurs(answer)) {
          deviations.push(`${where} ${ids.name}: ${text}`);
        }
      }
    });
    expectNone(deviations);
  }, 60_000);
});

/** The statuses of a request that is let in. */
function successesOf({ operation, caller, ids }: Case): readonly number[] {
  const { sample, path, method } = operation;
  if (ids.target?.trashed !== undefined && sample.trashStatus !== undefined) return [sample.trashStatus];
  const own = sample.own?.[caller.name];
  if (own !== undefined) return [own];
  if (sample.status) return sample.status;
  const responses = document.paths[path]?.[method.toLowerCase()]?.responses ?? { 200: {} };
  return Object.keys(responses)
    .map(Number)
    .filter((status) => status < 300);
}

/** True for a problem document or nothing at all, under the headers that every answer has. */
function isOurs({ contentType, body, headers }: Answer): boolean {
  const isProblem =
    contentType.startsWith('application/problem+json') && body.startsWith('{"type":"/problems/');
  return (
    (isProblem || body === '') &&
    ['x-request-id: ', 'x-content-type-options: nosniff', 'referrer-policy: no-referrer'].every((line) =>
      headers.includes(line),
    )
  );
}

describe('what the router refuses itself', () => {
  it.each([
    ['GET', '/files/%ff', 400],
    ['GET', '/files/%', 400],
    ['GET', '/nowhere', 404],
    ['POST', '/livez', 405],
    ['GET', `/files/${'x'.repeat(15_000)}`, 401],
    ['OPTIONS', '/nowhere', 404],
  ] as const)('%s %s is a problem under the headers of every answer', async (method, url, status) => {
    const answer = await send(scene.app, method, url);
    expect(answer).toMatchObject({ status });
    expect(isOurs(answer), textOf(answer)).toBe(true);
    expect(JSON.parse(answer.body)).toMatchObject({ status, requestId: 'access-matrix' });
  });

  it.each(['none', 'https://app.example.com', '*'])(
    'OPTIONS is never answered in plain text where pages of %s may call',
    async (origins) => {
      const { app, routes, close } = await openRealApp({ MBK_CORS_ORIGINS: origins });
      const preflight: Readonly<Record<string, string>> = {
        origin: 'https://app.example.com',
        'access-control-request-method': 'GET',
      };
      const wishes = [{}, preflight, { origin: 'https://app.example.com' }, { ...preflight, origin: 'null' }];
      try {
        for (const path of new Set(routes.map((route) => route.path))) {
          for (const headers of wishes) {
            const answer = await send(app, 'OPTIONS', path.replace(/\{\w+\}/g, newId()), { headers });
            expect(answer.status, path).toBeLessThan(500);
            expect(isOurs(answer), `${path} ${textOf(answer)}`).toBe(true);
          }
        }
      } finally {
        await close();
      }
    },
  );
});
