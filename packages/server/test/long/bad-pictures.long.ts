import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { Api, type FileView } from '../../../../acceptance/api.js';
import {
  startServer,
  temporaryFolder,
  until,
  type RunningServer,
} from '../../../../acceptance/running-server.js';
import { bombs, hungryPng, impossible } from '../fixtures/bombs.js';
import { animation, photo, type PictureFormat } from '../fixtures/pictures.js';

/**
 * Everything that breaks decoders, among good pictures, through the built server. `TEST_BOUNDED=1`: fewer good ones, and
 * retries that do not wait (a minute instead of four).
 */
const bounded = process.env['TEST_BOUNDED'] === '1';
const goodPictures = bounded ? 20 : 50;
const parallelUploads = 4;
const poisons = new URL('../fixtures/poisoned-decoders.mjs', import.meta.url);

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: RunningServer;
let me: Api;
let project: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  server = await startServer({
    dataFolder: folder.path,
    env: {
      NODE_OPTIONS: `--import=${fileURLToPath(poisons)}`,
      TEST_QUICK_RETRIES: bounded ? '1' : '0',
      MBK_IMAGING_TIMEOUT: '5s',
      MBK_IMAGING_MEMORY: '256MiB',
    },
  });
  me = await Api.register(server.url);
  project = await me.project();
});
afterAll(async () => {
  await server.stop();
  await folder.remove();
});

/** What is to become of a file. */
interface Sent {
  readonly name: string;
  readonly bytes: Buffer;
  /** Why it fails; undefined for a good one. */
  readonly reason: RegExp | undefined;
}

async function good(): Promise<Sent[]> {
  const formats: readonly PictureFormat[] = ['jpeg', 'png', 'webp', 'avif', 'gif'];
  return Promise.all(
    Array.from({ length: goodPictures }, async (_, n) => {
      const format = formats[n % formats.length] ?? 'jpeg';
      const size = { width: 600 + 10 * n, height: 400 };
      const bytes =
        format === 'gif'
          ? await animation({ width: 120, height: 80, frames: 3 })
          : await photo({ ...size, seed: n, format });
      return { name: `good ${n}.${format}`, bytes, reason: undefined };
    }),
  );
}

async function bad(): Promise<Sent[]> {
  const files = (list: Readonly<Record<string, Buffer>>, reason: RegExp): Sent[] =>
    Object.entries(list).map(([name, bytes]) => ({ name, bytes, reason }));
  const whole = await photo({ width: 800, height: 600 });
  const poisoned = (poison: string): Buffer => Buffer.concat([whole, Buffer.from(`poison:${poison}`)]);
  return [
    ...files(await bombs(), /pixels/),
    ...files(await impossible(), /damaged|cannot be/),
    ...files({ 'cut JPEG': whole.subarray(0, whole.length / 4) }, /damaged/),
    ...files({ 'PNG of 392 MB in memory': hungryPng() }, /memory/),
    ...files({ crash: poisoned('crash') }, /ended by SIGSEGV/),
    ...files({ hang: poisoned('hang') }, /took longer than 5 s/),
    ...files({ hog: poisoned('hog') }, /memory/),
  ];
}

/** One bad file behind every few good ones. */
function mixed(good: readonly Sent[], bad: readonly Sent[]): Sent[] {
  const every = Math.max(1, Math.floor(good.length / bad.length));
  const rest = [...bad];
  return [...good.flatMap((file, n) => [file, ...(n % every === 0 ? rest.splice(0, 1) : [])]), ...rest];
}

/** Asks both health routes again and again until told to stop; gives the longest time that one took. */
function watchHealth(): () => Promise<{ worstMs: number; answers: number; bad: number }> {
  const told = new AbortController();
  const watching = (async () => {
    const seen = { worstMs: 0, answers: 0, bad: 0 };
    while (!told.signal.aborted) {
      for (const path of ['/livez', '/readyz']) {
        const began = performance.now();
        const { status } = await fetch(server.url + path);
        seen.worstMs = Math.max(seen.worstMs, performance.now() - began);
        seen.answers += 1;
        if (status !== 200) seen.bad += 1;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return seen;
  })();
  return async () => {
    told.abort();
    return watching;
  };
}

test(`bombs, crashes, hangs and hogs among ${goodPictures} good pictures fail alone, with their reasons`, async () => {
  const files = mixed(await good(), await bad());
  const stopWatching = watchHealth();
  const stored = new Map<string, Sent>();
  const queue = [...files];
  const send = async (): Promise<void> => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const answer = await me.upload(project, file.name, new Uint8Array(file.bytes));
      if (answer.status === 201) stored.set(answer.body.id, file);
      else {
        // Refused at the door: only for its pixels, and nothing good.
        expect([answer.status, file.name, JSON.stringify(answer.body)]).toEqual([
          422,
          file.name,
          expect.stringMatching(/too-many-pixels/),
        ]);
        expect(file.reason, file.name).toBeDefined();
      }
    }
  };
  await Promise.all(Array.from({ length: parallelUploads }, send));

  let settled: readonly FileView[] = [];
  await until('every file is settled', 500, async () => {
    settled = await me.files(project);
    return settled.every(({ status }) => status !== 'processing');
  });
  const health = await stopWatching();

  expect(settled).toHaveLength(stored.size);
  for (const { id, status, failure, variants } of settled) {
    const { name, reason } = stored.get(id) ?? {};
    const states = new Set(Object.values(variants).map((variant) => variant.status));
    if (reason === undefined)
      expect([name, status, failure, ...states]).toEqual([name, 'ready', null, 'ready']);
    else {
      expect([name, status, failure, ...states]).toEqual([
        name,
        'failed',
        expect.stringMatching(reason),
        'failed',
      ]);
    }
  }
  // The worst of hundreds of answers while decoders die, hang and are killed.
  expect(health.answers).toBeGreaterThan(20);
  expect(health.bad).toBe(0);
  expect(health.worstMs).toBeLessThan(1000);
}, 600_000);
