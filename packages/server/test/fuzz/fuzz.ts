import { readFileSync } from 'node:fs';

import { Ajv, type ValidateFunction } from 'ajv';
import ajvFormats from 'ajv-formats';

import { openMatrixScene, type MatrixScene } from '../matrix/scene.js';
import { samples } from '../matrix/samples.js';
import { takeSnapshot } from '../matrix/snapshot.js';
import { documentedOperations, type DocumentedOperation, type FuzzedRequest } from './requests.js';

/** The server that is asked, and the judge of its answers. */
export interface Fuzz {
  readonly operations: readonly DocumentedOperation[];
  readonly callers: readonly string[];
  /** How many answers had each status. */
  readonly statuses: ReadonlyMap<number, number>;
  /**
   * Sends one request to the server as it was at the beginning.
   * @throws Error when the answer is a 5xx, is not documented, or does not match its schema.
   */
  run(request: FuzzedRequest): Promise<void>;
  close(): Promise<void>;
}

const callers = ['owner', 'owner', 'administrator', 'full key', 'nobody'];

/** Opens the app of the access matrix for the fuzzer. */
export async function openFuzz(): Promise<Fuzz> {
  const scene = await openMatrixScene();
  const snapshot = await takeSnapshot(scene.database);
  const document = JSON.parse(
    readFileSync(new URL('../../../../openapi.json', import.meta.url), 'utf8'),
  ) as Parameters<typeof documentedOperations>[0] & {
    readonly components: { readonly schemas: { readonly Problem: object } };
  };
  const operations = documentedOperations(document);
  const ajv = new Ajv({ strict: false, allErrors: true });
  ajvFormats.default(ajv);
  const isProblem = ajv.compile(document.components.schemas.Problem);
  const validators = new Map<object, ValidateFunction>();
  const statuses = new Map<number, number>();
  /** The run may be given up when its time is over; the server is not closed under its last request. */
  let running: Promise<unknown> = Promise.resolve();
  async function judge(request: FuzzedRequest): Promise<void> {
    const operation = operations[request.operation];
    if (!operation) throw new Error('no such operation');
    const answer = await send(scene, operation, request);
    const { statusCode: status } = answer;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    if (operation.method !== 'GET' && status < 300) await snapshot.restore();
    const where = `${operation.method} ${operation.path} answered ${status}`;
    const logged = scene.errors.splice(0);
    if (status >= 500) throw new Error(`${where}: ${answer.body}\n${JSON.stringify(logged, null, 1)}`);
    if (logged.length > 0) throw new Error(`${where} and logged: ${JSON.stringify(logged, null, 1)}`);
    const type = String(answer.headers['content-type'] ?? '');
    if (status >= 400) {
      if (operation.method === 'HEAD') return;
      const problem = JSON.parse(answer.body) as { readonly status?: number };
      if (!type.startsWith('application/problem+json') || !isProblem(problem) || problem.status !== status) {
        throw new Error(`${where}, which is no problem document: ${answer.body}`);
      }
      return;
    }
    const documented = operation.responses[status];
    if (!documented) throw new Error(`${where}, which is not documented`);
    const schema = documented.content?.['application/json']?.schema;
    if (!documented.content && answer.body !== '') throw new Error(`${where} with a body: ${answer.body}`);
    if (!schema) return;
    const validate = validators.get(schema) ?? ajv.compile(schema);
    validators.set(schema, validate);
    if (!validate(JSON.parse(answer.body))) {
      throw new Error(`${where}: ${ajv.errorsText(validate.errors)}\n${answer.body}`);
    }
  }
  return {
    operations,
    callers,
    statuses,
    run(request) {
      const run = judge(request);
      // Only to close after it: what it rejects with is told to whoever asked.
      running = run.catch(() => undefined);
      return run;
    },
    async close() {
      await running;
      await scene.close();
    },
  };
}

function send(scene: MatrixScene, operation: DocumentedOperation, request: FuzzedRequest) {
  const caller = scene.credentials.find(({ name }) => name === request.caller);
  const sample = samples[operation.operationId];
  if (!caller || !sample) throw new Error(`${operation.operationId} has no sample in the access matrix`);
  const path = operation.path.replace(/\{(\w+)\}/g, (_all, name: string) => {
    const given = request.params[name];
    if (given !== undefined) return encoded(given);
    const subject = sample.params?.[name];
    if (subject === 'session') return caller.sessionId ?? scene.person;
    if (subject === 'person') return scene.person;
    if (subject === 'serverInvitation') return scene.serverInvitation;
    return subject === undefined ? '' : scene.things.own[subject];
  });
  const query = request.query.map(([name, value]) => `${name}=${encoded(value)}`).join('&');
  const wanted = Object.entries(sample.send?.(scene.things.own, scene, caller).headers ?? {});
  const others = Object.fromEntries(wanted.filter(([name]) => name !== 'content-type'));
  return scene.app.inject({
    method: operation.method as 'GET',
    url: query === '' ? path : `${path}?${query}`,
    headers: {
      ...others,
      ...request.headers,
      ...caller.headers,
      ...(request.contentType === undefined ? {} : { 'content-type': request.contentType }),
    },
    ...(request.body === undefined ? {} : { payload: request.body }),
  });
}

/** Half of a surrogate pair has no UTF-8, which a URL is made of. */
function encoded(text: string): string {
  return encodeURIComponent(Buffer.from(text, 'utf8').toString('utf8'));
}
