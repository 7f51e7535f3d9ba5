import { Api, type FileView } from '../api.js';
import { demand, type Scene } from '../crash/scene.js';
import type { Random } from '../crash/random.js';
import type { Fleet } from './fleet.js';
import { only, type Ledger, type Sent } from './ledger.js';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** What a client has at hand when it sends. */
export interface Asking {
  readonly api: Api;
  readonly fleet: Fleet;
  readonly scene: Scene;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly names: readonly string[];
}

export interface WayIn {
  readonly name: string;
  readonly extension: string;
  /** Files that it sends at once. */
  readonly files: number;
  /** @returns the outcome in a word or two. */
  readonly send: (asking: Asking) => Promise<string>;
}

/** @returns undefined when no answer came. */
export async function ask(
  api: Api,
  method: string,
  path: string,
  body?: Uint8Array<ArrayBuffer> | FormData | object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer | undefined> {
  const plain = body === undefined || body instanceof FormData || body instanceof Uint8Array;
  const foreign = path.startsWith('http');
  try {
    const response = await fetch(foreign ? path : api.url + path, {
      method,
      headers: {
        ...(foreign ? {} : api.headers),
        ...(plain ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: plain ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(20_000),
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    // Cut off, refused or out of time: all the same to a client.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function note({ ledger }: Asking, name: string, bytes: Uint8Array): Sent {
  // Until an answer comes it may be there or not.
  const sent: Sent = { name, bytes, places: only('here', 'nowhere'), story: 'sent' };
  ledger.sent.set(name, sent);
  return sent;
}

/** What an answer to an upload says of its files. @returns the outcome. */
function learn(files: readonly Sent[], answer: Answer | undefined): string {
  const outcome = answer === undefined ? 'cut off' : String(answer.status);
  const done = answer !== undefined && answer.status >= 200 && answer.status < 300;
  const views = done ? viewsOf(JSON.parse(answer.text)) : [];
  for (const file of files) {
    file.story = `upload: ${outcome}`;
    const view = views.find(({ filename }) => filename === file.name);
    if (view) Object.assign(file, { id: view.id, places: only('here') });
    else if (answer !== undefined) file.places = only('nowhere');
  }
  return outcome;
}

function viewsOf(body: unknown): readonly FileView[] {
  const { data, file } = body as { data?: readonly FileView[]; file?: FileView | null };
  return data ?? [file ?? (body as FileView)];
}

/** Mostly small ones; one in sixteen has parts. */
function someBytes(random: Random): Buffer<ArrayBuffer> {
  const size = random.below(16) === 0 ? 8_500_000 + random.below(500_000) : 100 + random.below(200_000);
  return random.bytes(size);
}

const path = ({ ledger }: Asking): string => `/projects/${ledger.project}`;

async function form(asking: Asking): Promise<string> {
  const body = new FormData();
  const files = asking.names.map((name) => {
    const bytes = asking.random.bytes(100 + asking.random.below(100_000));
    body.append('file', new Blob([bytes]), name);
    return note(asking, name, bytes);
  });
  return learn(files, await ask(asking.api, 'POST', `${path(asking)}/upload`, body));
}

async function picture(asking: Asking): Promise<string> {
  const [name = ''] = asking.names;
  const body = new FormData();
  body.append('file', new Blob([asking.scene.picture]), name);
  const file = note(asking, name, asking.scene.picture);
  return learn([file], await ask(asking.api, 'POST', `${path(asking)}/upload`, body));
}

/** Asks again with the same key, as clients shall, until it has its answer. */
async function raw(asking: Asking): Promise<string> {
  const { fleet, random, names } = asking;
  const [name = ''] = names;
  const bytes = someBytes(random);
  const file = note(asking, name, bytes);
  let { api } = asking;
  for (let tries = 1; ; tries++) {
    const headers = { 'idempotency-key': `key-${name}` };
    const answer = await ask(api, 'PUT', `${path(asking)}/upload?filename=${name}`, bytes, headers);
    const final = answer !== undefined && answer.status < 500 && answer.status !== 409;
    if (final) return learn([file], answer);
    if (tries === 4) return 'never answered';
    await new Promise((resolve) => setTimeout(resolve, 300 * tries));
    api = new Api(fleet.address(random) ?? api.url, { ...api.headers });
  }
}

const tusVersion = { 'tus-resumable': '1.0.0' };

/** Goes on after every break, at any process. */
async function tus(asking: Asking): Promise<string> {
  const { fleet, random, names } = asking;
  const [name = ''] = names;
  const bytes = someBytes(random);
  let { api } = asking;
  const made = await ask(api, 'POST', `${path(asking)}/tus`, undefined, {
    ...tusVersion,
    'upload-length': String(bytes.length),
    'upload-metadata': `filename ${Buffer.from(name).toString('base64')}`,
  });
  if (made?.status !== 201) return made === undefined ? 'cut off' : String(made.status);
  const where = new URL(made.headers.get('location') ?? '').pathname;
  const file = note(asking, name, bytes);
  for (let tries = 1; tries <= 8; tries++) {
    const head = await ask(api, 'HEAD', where, undefined, tusVersion);
    const offset = Number(head?.headers.get('upload-offset') ?? Number.NaN);
    if (head && (head.status === 404 || head.status === 410)) {
      file.places = only('nowhere');
      return `gone ${head.status}`;
    }
    if (Number.isInteger(offset)) {
      if (offset === bytes.length) {
        const id = head?.headers.get('x-file-id');
        file.story = 'tus: all bytes taken';
        if (id) Object.assign(file, { id, places: only('here') });
        return id ? 'done' : 'being verified';
      }
      const end = random.below(2) === 0 ? bytes.length : offset + Math.ceil((bytes.length - offset) / 2);
      await ask(api, 'PATCH', where, bytes.subarray(offset, end), {
        ...tusVersion,
        'upload-offset': String(offset),
        'content-type': 'application/offset+octet-stream',
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 100 * tries));
    api = new Api(fleet.address(random) ?? api.url, { ...api.headers });
  }
  file.story = 'tus: broken off';
  return 'broken off';
}

/** Declares, sends to the store, completes; asks again when no answer comes. */
async function direct(asking: Asking): Promise<string> {
  const { api, fleet, random, names } = asking;
  const [name = ''] = names;
  const bytes = random.bytes(100 + random.below(200_000));
  const body = { filename: name, size: bytes.length, via: 'put' };
  const declared = await ask(api, 'POST', `${path(asking)}/uploads`, body);
  if (declared?.status !== 201) return declared === undefined ? 'cut off' : String(declared.status);
  const { id, put } = JSON.parse(declared.text) as {
    id: string;
    put: { url: string; headers: Record<string, string> };
  };
  const file = note(asking, name, bytes);
  const arrived = await ask(api, 'PUT', put.url, bytes, put.headers);
  if (arrived === undefined || arrived.status >= 300) {
    // It was never completed, so there is no file.
    file.places = only('nowhere');
    return 'not stored';
  }
  for (let tries = 1; tries <= 4; tries++) {
    const at = new Api(fleet.address(random) ?? api.url, { ...api.headers });
    const answer = await ask(at, 'POST', `${path(asking)}/uploads/${id}/complete`);
    file.story = `direct: ${answer?.status}`;
    if (answer?.status === 200 || answer?.status === 201) return learn([file], answer);
    if (answer && answer.status >= 400 && answer.status < 500 && answer.status !== 409) {
      file.places = only('nowhere');
      return String(answer.status);
    }
    await new Promise((resolve) => setTimeout(resolve, 200 * tries));
  }
  return 'never answered';
}

async function imported(asking: Asking): Promise<string> {
  const { api, scene, ledger, names } = asking;
  const [name = ''] = names;
  const answer = await ask(api, 'POST', `${path(asking)}/import`, {
    url: `${scene.source}/${name}`,
    filename: name,
  });
  const file = note(asking, name, scene.picture);
  if (answer?.status !== 202) return answer === undefined ? 'cut off' : String(answer.status);
  const { id } = JSON.parse(answer.text) as { id: string };
  demand(typeof id === 'string', 'an import without an id');
  ledger.imports.set(id, name);
  file.story = `import ${id}`;
  return 'ordered';
}

/** Every way in, as clients use it. */
export const waysIn: readonly WayIn[] = [
  { name: 'form', extension: 'bin', files: 2, send: form },
  { name: 'picture', extension: 'jpg', files: 1, send: picture },
  { name: 'raw', extension: 'bin', files: 1, send: raw },
  { name: 'tus', extension: 'bin', files: 1, send: tus },
  { name: 'direct', extension: 'bin', files: 1, send: direct },
  { name: 'import', extension: 'import.jpg', files: 1, send: imported },
];
