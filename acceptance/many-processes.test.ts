import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { Api } from './api.js';
import { photo } from './pictures.js';
import { startServer, temporaryFolder, until } from './running-server.js';

/**
 * An external PostgreSQL when one is given (an empty database), else the embedded one, which the
 * processes then share: the first starts it, the others join.
 */
const external = process.env['TEST_ACCEPTANCE_DATABASE_URL'];
const pictures = Number(process.env['TEST_ACCEPTANCE_PICTURES'] ?? 40);

it(`two API and two worker processes share ${pictures} pictures, each rendered once`, async () => {
  const folder = await temporaryFolder();
  const secret = () => randomBytes(32).toString('base64');
  const env = {
    ...(external ? { DATABASE_URL: external, MBK_JWT_SECRET: secret(), MBK_LINK_SECRET: secret() } : {}),
    MBK_IMAGING_PROCESSES: '1',
  };
  const start = (command: 'api' | 'worker') => startServer({ command, dataFolder: folder.path, env });
  const apis = await Promise.all([start('api'), start('api')]);
  const workers = await Promise.all([start('worker'), start('worker')]);

  const [first, second] = apis;
  const me = await Api.register(first.url);
  // The second API process knows the account, the project and the files of the first.
  const meThere = await Api.register(second.url);
  const projects = [
    { api: me, id: await me.project() },
    { api: meThere, id: await meThere.project() },
  ];
  const bytes = await photo(1200, 800);
  const ids: string[][] = [[], []];
  await Promise.all(
    projects.map(async ({ api, id }, side) => {
      for (let n = 0; n < pictures / 2; n++) {
        const { status, body } = await api.upload(id, `${n}.jpg`, bytes, 'image/jpeg');
        expect(status).toBe(201);
        ids[side]?.push(body.id);
      }
    }),
  );
  for (const { api, id } of projects) {
    await until('every picture is ready', 120, async () =>
      (await api.files(id)).every((file) => file.status === 'ready'),
    );
    expect(await api.files(id)).toHaveLength(pictures / 2);
  }

  // Each picture was rendered by exactly one worker, and both took part.
  const rendered = workers.map((worker) => worker.output().match(/"msg":"variants rendered"/g)?.length ?? 0);
  expect(rendered.reduce((sum, count) => sum + count, 0)).toBe(pictures);
  expect(Math.min(...rendered)).toBeGreaterThan(0);
  // A second attempt would have written a second generation's key.
  const stored = await readdir(join(folder.path, 'blobs'), { recursive: true });
  expect(stored.filter((path) => /\.\d+\.\w+$/.test(path))).toEqual([]);
  expect(stored.filter((path) => path.includes('/thumbnail/'))).toHaveLength(pictures);

  for (const process of [...workers, ...apis]) expect(await process.stop()).toBe(0);
  await folder.remove();
});
