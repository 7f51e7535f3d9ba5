import type { RealApp } from '../real-app.js';
import { samples, type Sample } from './samples.js';

/** One thing that can be asked of the server, with a request for it. */
export interface Operation {
  readonly name: string;
  readonly method: string;
  /** As in OpenAPI. */
  readonly path: string;
  readonly permission: string;
  readonly sample: Sample;
  /** HEAD is answered as well. */
  readonly head: boolean;
}

/** The part of the OpenAPI document that this suite reads. */
export interface ApiDocument {
  readonly paths: Readonly<
    Record<
      string,
      Readonly<
        Record<
          string,
          {
            readonly operationId?: string;
            readonly 'x-permission'?: string;
            readonly responses: Readonly<Record<string, unknown>>;
          }
        >
      >
    >
  >;
}

/**
 * All operations: those of the document, which names their permissions, and the hidden routes of the running server.
 * @throws Error for a route without a sample, a sample without a route, and where document and server differ.
 */
export function operationsOf({ routes }: Pick<RealApp, 'routes'>, document: ApiDocument): Operation[] {
  const faults: string[] = [];
  const heads = new Set(routes.filter(({ method }) => method === 'HEAD').map(({ path }) => path));
  const found: Operation[] = [];
  for (const route of routes) {
    const { method, path, permission, operationId, hidden } = route;
    // OPTIONS is asked of every path; the HEAD that comes with a GET has the GET's operation id.
    if (method === 'OPTIONS') continue;
    if (method === 'HEAD' && (operationId === undefined || isTwin(route, routes))) continue;
    const where = `${method} ${path}`;
    const name = hidden || operationId === undefined ? where : operationId;
    const documented = document.paths[path]?.[method.toLowerCase()];
    // The document tells of no HEAD, and metrics are there only with a token.
    if (!hidden && method !== 'HEAD' && operationId !== undefined && operationId !== 'getMetrics') {
      if (documented?.operationId !== operationId) faults.push(`${where} is not in openapi.json`);
      else if (documented['x-permission'] !== permission)
        faults.push(`${where} has another permission in openapi.json`);
    }
    const sample = samples[name];
    if (sample)
      found.push({ name, method, path, permission, sample, head: method === 'GET' && heads.has(path) });
    else faults.push(`${where} (${name}) has no sample in the access matrix`);
  }
  const names = new Set(found.map(({ name }) => name));
  for (const name of Object.keys(samples))
    if (!names.has(name)) faults.push(`no route belongs to the sample ${name}`);
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { operationId }] of Object.entries(methods)) {
      if (!names.has(operationId ?? ''))
        faults.push(`openapi.json has ${method} ${path}, the server has not`);
    }
  }
  if (faults.length > 0) throw new Error(faults.join('\n'));
  return found;
}

/** True for the HEAD that the framework adds to a GET. */
function isTwin(head: RealApp['routes'][number], routes: RealApp['routes']): boolean {
  return routes.some(
    ({ method, path, operationId }) =>
      method === 'GET' && path === head.path && operationId === head.operationId,
  );
}
