import { createLog } from '../../../foundation/log.js';
import type { Lookup } from '../../../foundation/http/outbound/connector.js';
import { createRunner, type Runner, type RunnerOptions } from '../../../foundation/queue/runner.js';
import { createUploadKit, type UploadKit, type UploadKitOptions } from '../../../../test/upload-kit.js';
import type { OddSource } from '../../../../test/odd-source.js';

/** An import as its client sees it; loosely typed, as `JSON.parse` leaves it. */
export interface SeenImport {
  readonly id: string;
  readonly status: string;
  readonly url: string;
  readonly receivedBytes: number;
  readonly totalBytes: number | null;
  readonly file: { readonly id: string; readonly filename: string; readonly size: number } | null;
  readonly failure: { readonly code: string; readonly detail: string } | null;
}

export interface ImportScene extends UploadKit {
  readonly projectId: string;
  order(body: object, headers?: Record<string, string>): Promise<Response>;
  /** Orders an import of a source's path and resolves with its id. */
  begin(source: OddSource, path?: string, more?: object): Promise<string>;
  see(importId: string): Promise<SeenImport>;
  /** Waits until the import has ended. */
  ended(importId: string): Promise<SeenImport>;
  cancel(importId: string): Promise<Response>;
  /** Starts a worker. */
  run(options?: Partial<RunnerOptions>): Runner;
}

const everyPort = Array.from({ length: 65_536 }, (_, port) => String(port));

/** Names whose addresses are these; every other name is unknown. */
export function names(table: Readonly<Record<string, readonly string[]>>): Lookup {
  return async (name) => {
    const addresses = table[name];
    if (!addresses) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
}

/** The rooms of uploads with a project, for imports from 127.0.0.1. */
export async function createImportScene(
  options: UploadKitOptions = {},
  settings: Record<string, unknown> = {},
): Promise<ImportScene> {
  const kit = await createUploadKit({
    ...options,
    outbound: { ports: everyPort, allow: ['127.0.0.1'], ...options.outbound },
  });
  const projectId = await kit.project(settings);
  const log = await createLog({ level: 'silent', pretty: false });
  const runners: Runner[] = [];
  const collection = `${kit.url}/projects/${projectId}`;

  const order: ImportScene['order'] = (body, headers = {}) =>
    fetch(`${collection}/import`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  const see: ImportScene['see'] = async (id) =>
    (await (await fetch(`${collection}/imports/${id}`)).json()) as SeenImport;

  return {
    ...kit,
    projectId,
    order,
    async begin(source, path = '/a.bin', more = {}) {
      const answer = await order({ url: `http://127.0.0.1:${source.port}${path}`, ...more });
      if (answer.status !== 202) throw new Error(`${answer.status}: ${await answer.text()}`);
      return ((await answer.json()) as SeenImport).id;
    },
    see,
    async ended(id) {
      for (;;) {
        const seen = await see(id);
        if (seen.status === 'completed' || seen.status === 'failed') return seen;
        await new Promise((resolve) => setTimeout(resolve, 15));
      }
    },
    cancel: (id) => fetch(`${collection}/imports/${id}`, { method: 'DELETE' }),
    run(more = {}) {
      const runner = createRunner({
        db: kit.db,
        handlers: kit.work.handlers,
        concurrency: 4,
        name: 'test',
        log,
        pollMs: 25,
        graceMs: 2_000,
        backoff: { firstSeconds: 0.02, factor: 1, longestSeconds: 0.02 },
        ...more,
      });
      runners.push(runner);
      runner.start();
      return runner;
    },
    async close() {
      await Promise.all(runners.map((runner) => runner.stop({ drainMs: 0 })));
      await kit.close();
    },
  };
}
