import type { App } from '../../src/foundation/http/app.js';
import type { IdSet } from './ids.js';
import type { Operation } from './operations.js';
import type { Credential, MatrixScene } from './scene.js';

/** Everything that a client sees of an answer. */
export interface Answer {
  readonly status: number;
  /** One line each, sorted; without the moment. */
  readonly headers: string;
  readonly contentType: string;
  readonly body: string;
}

/** What comes on top of a sample. */
export interface Twist {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends one request of the matrix. Request ids are the client's own, so that equal answers are equal byte for byte. */
export async function ask(
  scene: MatrixScene,
  operation: Operation,
  caller: Credential,
  ids: IdSet,
  twist: Twist = {},
): Promise<Answer> {
  const path = operation.path.replace(/\{(\w+)\}/g, (_all, name: string) => ids.values[name] ?? '');
  const { headers = {}, query, body } = operation.sample.send?.(ids.things, scene, caller) ?? {};
  const { method = operation.method } = twist;
  // Other methods come with nothing.
  const sent = method === operation.method || method === 'HEAD' ? { headers, body } : {};
  return send(scene.app, method, query === undefined ? path : `${path}?${query}`, {
    ...sent,
    headers: { ...sent.headers, ...caller.headers, ...twist.headers },
  });
}

/** Sends any request. */
export async function send(
  app: App,
  method: string,
  url: string,
  request: { readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown } = {},
): Promise<Answer> {
  const { body } = request;
  const answer = await app.inject({
    method: method as 'GET',
    url,
    headers: { 'x-request-id': 'access-matrix', ...request.headers },
    ...(body === undefined ? {} : { payload: Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
  });
  const { headers } = answer;
  return {
    status: answer.statusCode,
    headers: Object.entries(headers)
      .filter(([name]) => name !== 'date')
      .map(([name, value]) => `${name}: ${String(value)}`)
      .sort()
      .join('\n'),
    contentType: String(headers['content-type'] ?? ''),
    body: answer.body,
  };
}

/** One text of it: equal answers have equal texts. */
export function textOf({ status, headers, body }: Answer): string {
  return `${status}\n${headers}\n\n${body}`;
}
