import { setTimeout as sleep } from 'node:timers/promises';

import { Api, type FileView } from '../api.js';
import { sha256, type Scene } from '../crash/scene.js';
import type { Random } from '../crash/random.js';
import type { Fleet } from './fleet.js';
import { only, type Ledger, type Sent } from './ledger.js';
import type { Tally } from './tally.js';
import { ask, waysIn, type Answer } from './ways-in.js';

/** One client: its own project, its own numbers, one request after the other. */
export interface ClientOptions {
  readonly number: number;
  readonly scene: Scene;
  readonly fleet: Fleet;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly tally: Tally;
  /** Told what must never be, at once. */
  readonly onFault: (fault: string) => void;
  readonly signal: AbortSignal;
}

const mostFiles = 60;

/** Sends, reads, lists, deletes, restores until the signal comes. */
export async function runClient(options: ClientOptions): Promise<void> {
  const { fleet, random, tally, signal, scene, ledger, number } = options;
  let count = 0;
  while (!signal.aborted) {
    await sleep(random.below(120));
    const url = fleet.address(random);
    if (url === undefined) continue;
    const api = new Api(url, { ...scene.api.headers });
    const known = [...ledger.sent.values()].filter(
      ({ id, places }) => id !== undefined && !places.has('nowhere'),
    );
    const draw = random.below(100);
    if (known.length < 3 || (draw < 40 && known.length < mostFiles)) {
      const way = random.pick(waysIn);
      const names = Array.from({ length: way.files }, () => `c${number}-${(count += 1)}.${way.extension}`);
      const outcome = await way.send({ api, fleet, scene, ledger, random, names });
      tally.count(`upload, ${way.name}`, outcome);
      continue;
    }
    const file = random.pick(known);
    if (draw < 70) await read(options, api, file);
    else if (draw < 78) await list(options, api);
    else if (draw < 88) await move(options, api, file, 'delete');
    else if (draw < 94) await move(options, api, file, 'restore');
    else await move(options, api, file, 'delete for good');
  }
}

async function read({ tally, onFault }: ClientOptions, api: Api, file: Sent): Promise<void> {
  const { id = '', name, bytes, places } = file;
  const variant = name.endsWith('.jpg') && places.has('here') ? '?variant=thumb' : '';
  const asked = await bytesOf(api, `/files/${id}/content${variant}`);
  tally.count(variant ? 'read a variant' : 'read', asked === undefined ? 'cut off' : String(asked.status));
  if (!asked) return;
  const here = places.size === 1 && places.has('here');
  if (!variant && asked.status === 200 && sha256(asked.body) !== sha256(bytes)) {
    onFault(
      `${name} (${id}) reads as ${asked.body.length} other bytes than the ${bytes.length} that were sent`,
    );
  }
  if (!variant && asked.status === 404 && here)
    onFault(`${name} (${id}) was acknowledged, and is not there: ${file.story}`);
  if (asked.status === 200 && !places.has('here'))
    onFault(`${name} (${id}) was deleted, and can be read: ${file.story}`);
}

async function bytesOf(api: Api, path: string): Promise<{ status: number; body: Uint8Array } | undefined> {
  try {
    const response = await fetch(api.url + path, {
      headers: api.headers,
      signal: AbortSignal.timeout(20_000),
    });
    return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) };
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** What the list shows is what was sent. */
async function list({ tally, onFault, ledger }: ClientOptions, api: Api): Promise<void> {
  const answer = await ask(api, 'GET', `/projects/${ledger.project}/files?limit=100`);
  tally.count('list', outcomeOf(answer));
  if (answer?.status !== 200) return;
  const { data } = JSON.parse(answer.text) as { data: readonly FileView[] };
  const byName = new Map(data.map((file) => [file.filename, file]));
  for (const name of byName.keys()) {
    const file = ledger.sent.get(name);
    if (!file) onFault(`the list shows ${name}, which nobody sent`);
    else if (!file.places.has('here'))
      onFault(`the list shows ${name}, which is ${[...file.places].join(' or ')}: ${file.story}`);
  }
  if (data.length >= 100) return;
  for (const file of ledger.sent.values()) {
    if (
      file.places.size === 1 &&
      file.places.has('here') &&
      !byName.has(file.name) &&
      !file.name.includes('import')
    ) {
      onFault(`the list lacks ${file.name} (${file.id}): ${file.story}`);
    }
  }
}

const moves = {
  delete: { method: 'DELETE', path: (id: string) => `/files/${id}`, done: 204, from: 'here', to: 'trash' },
  restore: {
    method: 'POST',
    path: (id: string) => `/files/${id}/restore`,
    done: 200,
    from: 'trash',
    to: 'here',
  },
  'delete for good': {
    method: 'DELETE',
    path: (id: string) => `/files/${id}?permanent=true`,
    done: 204,
    from: undefined,
    to: 'nowhere',
  },
} as const;

/** Once it is acknowledged a file is at its new place; without an answer it is at the old one or at the new one. */
async function move(
  { tally, onFault }: ClientOptions,
  api: Api,
  file: Sent,
  name: keyof typeof moves,
): Promise<void> {
  const { method, path, done, from, to } = moves[name];
  if (from !== undefined && !file.places.has(from)) return;
  const before = file.places;
  const answer = await ask(api, method, path(file.id ?? ''));
  tally.count(name, outcomeOf(answer));
  file.story = `${name}: ${outcomeOf(answer)}`;
  if (answer?.status === done) {
    file.places = only(to);
    return;
  }
  // A refusal changes nothing; a server that was cut off from its database cannot know.
  const refused = answer !== undefined && answer.status < 500;
  if (!refused) file.places = only(...before, to);
  else if (answer.status === 404 && before.size === 1 && from !== undefined && before.has(from)) {
    onFault(`${name} of ${file.name} (${file.id}) answered 404, though it is there`);
  }
}

function outcomeOf(answer: Answer | undefined): string {
  return answer === undefined ? 'cut off' : String(answer.status);
}
