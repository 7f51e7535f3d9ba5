import { createHash } from 'node:crypto';

import type { Api, FileView } from '../api.js';
import type { Installation } from './installation.js';
import type { Random } from './random.js';

/** What operations are tried on. */
export interface Scene {
  readonly installation: Installation;
  /** The healthy API. */
  readonly api: Api;
  readonly random: Random;
  /** A small JPEG. */
  readonly picture: Buffer<ArrayBuffer>;
  /** An HTTP server that files can be imported from. */
  readonly source: string;
}

/** One run of an operation that may be cut off anywhere. */
export interface Trial {
  /** What the client asks of the process that may die; rejects when it is cut off. */
  act?(api: Api): Promise<void>;
  /** The command that may die, and is run again afterwards. */
  readonly args?: readonly string[];
  /** What the client does against a healthy process after `act`. */
  resume?(): Promise<void>;
  /** Whether the client was told that it is done. */
  acknowledged(): boolean;
  /** What must be so once everything has settled. @throws a sentence. */
  check(): Promise<void>;
}

export interface Operation {
  readonly name: string;
  /** Whose steps are counted. */
  readonly victim: 'api' | 'worker' | 'command';
  /** Calls that it makes, about: what a sample draws from. A long run finds out by itself. */
  readonly steps: { readonly postgres: number; readonly disk: number; readonly s3: number };
  /** Makes what the operation needs, and does so in peace. */
  prepare(scene: Scene): Promise<Trial>;
}

export class Broken extends Error {
  override readonly name = 'Broken';
}

/** @throws Broken */
export function demand(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Broken(what);
}

export const variants = { thumb: { width: 48, height: 48, fit: 'cover', format: 'webp' } };

export function newProject({ api }: Scene): Promise<string> {
  return api.project({ variants });
}

/** A request with a body of bytes. */
export async function send(
  api: Api,
  method: string,
  path: string,
  body: Uint8Array<ArrayBuffer> | undefined,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; headers: Headers; text: string }> {
  const foreign = path.startsWith('http');
  const response = await fetch(foreign ? path : api.url + path, {
    method,
    headers: { ...(foreign ? {} : api.headers), ...headers },
    ...(body === undefined ? {} : { body }),
    signal: AbortSignal.timeout(60_000),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** What a server answers when it is not done, or a client's own mistake: a trial cannot go on. */
export function expectStatus(
  what: string,
  answer: { status: number; text?: string; body?: unknown },
  ...wanted: number[]
): void {
  demand(
    wanted.includes(answer.status),
    `${what} answered ${answer.status}: ${answer.text ?? JSON.stringify(answer.body)}`,
  );
}

export async function uploaded(
  scene: Scene,
  project: string,
  name: string,
  bytes: Buffer<ArrayBuffer>,
): Promise<FileView> {
  const answer = await scene.api.upload(project, name, bytes, 'application/octet-stream');
  expectStatus('the upload that a trial needs', answer, 201);
  return answer.body;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

interface Usage {
  readonly originalBytes: number;
  readonly reservedBytes: number;
  readonly files: number;
}

/**
 * The names of a project's files, each of which is whole: it is one of those that were sent, it can be read, and its
 * bytes are those that were sent. What the project is said to hold is their sum.
 */
export async function wholeFiles(
  scene: Scene,
  project: string,
  sent: Readonly<Record<string, Uint8Array>>,
): Promise<readonly string[]> {
  const { api } = scene;
  const files = await api.files(project);
  for (const file of files) {
    const bytes = sent[file.filename];
    demand(bytes !== undefined, `a file that nobody sent: ${file.filename}`);
    demand(file.status === 'ready', `${file.filename} is ${file.status}`);
    demand(file.sha256 === sha256(bytes), `${file.filename} has another hash than what was sent`);
    demand(await holds(api, file.id, bytes), `${file.filename} reads back as something else`);
    for (const [name, variant] of Object.entries(file.variants)) {
      demand(variant.status === 'ready', `${name} of ${file.filename} is ${variant.status}`);
    }
  }
  const { body } = await api.call<{ usage: Usage }>('GET', `/projects/${project}`);
  const { usage } = body;
  // The trash counts as well.
  const all = [...files, ...(await api.files(project, '&trash=true'))];
  const sum = all.reduce((bytes, { size }) => bytes + size, 0);
  demand(
    usage.files === all.length && usage.originalBytes === sum && usage.reservedBytes === 0,
    `${all.length} files of ${sum} bytes, but the project says ${JSON.stringify(usage)}`,
  );
  return files.map(({ filename }) => filename).sort();
}

/** Whether the file can be read, and is those bytes. */
export async function holds(api: Api, id: string, bytes: Uint8Array): Promise<boolean> {
  const response = await fetch(`${api.url}/files/${id}/content`, { headers: api.headers });
  const body = new Uint8Array(await response.arrayBuffer());
  return response.status === 200 && sha256(body) === sha256(bytes);
}
