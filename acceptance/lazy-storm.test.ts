import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { Api } from './api.js';
import { look, photo } from './pictures.js';
import { startServer, temporaryFolder } from './running-server.js';

const requests = 200;

it(`${requests} first requests at once for a lazy variant, at two API and two worker processes, make it once`, async () => {
  const folder = await temporaryFolder();
  const start = (command: 'api' | 'worker') =>
    startServer({ command, dataFolder: folder.path, env: { MBK_IMAGING_PROCESSES: '1' } });
  const apis = await Promise.all([start('api'), start('api')]);
  const workers = await Promise.all([start('worker'), start('worker')]);

  const me = await Api.register(apis[0].url);
  const project = await me.project({
    visibility: 'public',
    variants: { hero: { width: 640, height: 480, fit: 'cover', format: 'webp', lazy: true } },
  });
  const { status, body } = await me.upload(project, 'a.jpg', await photo(1600, 1200), 'image/jpeg');
  expect([status, body.status]).toEqual([201, 'ready']);

  const answers = await Promise.all(
    Array.from({ length: requests }, async (_, n) => {
      const { url } = apis[n % 2 === 0 ? 0 : 1];
      const response = await fetch(`${url}/files/${body.id}/content?variant=hero&wait=30`);
      return {
        status: response.status,
        type: response.headers.get('content-type'),
        bytes: Buffer.from(await response.arrayBuffer()),
      };
    }),
  );

  expect(new Set(answers.map(({ status, type }) => `${status} ${type ?? ''}`))).toEqual(
    new Set(['200 image/webp']),
  );
  const hashes = answers.map(({ bytes }) => createHash('sha256').update(bytes).digest('hex'));
  expect(new Set(hashes).size).toBe(1);
  expect(await look(answers[0]?.bytes ?? Buffer.alloc(0))).toMatchObject({
    format: 'webp',
    width: 640,
    height: 480,
  });

  // Stopped first: what a worker might still be doing would count.
  for (const process of [...workers, ...apis]) expect(await process.stop()).toBe(0);
  const rendered = workers.map((worker) => worker.output().match(/"msg":"variants rendered"/g)?.length ?? 0);
  expect(rendered.reduce((sum, count) => sum + count, 0)).toBe(1);
  // One key of the first generation; a second attempt would have written another.
  const stored = await readdir(join(folder.path, 'blobs'), { recursive: true });
  expect(stored.filter((path) => path.includes('/hero/')).map((path) => path.split('/').pop())).toEqual([
    `${body.id}.webp`,
  ]);
  await folder.remove();
});
