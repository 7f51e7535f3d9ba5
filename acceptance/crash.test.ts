import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { Api, type FileView } from './api.js';
import { photo } from './pictures.js';
import { pause, startServer, temporaryFolder, until } from './running-server.js';

/** Every regular file below the folder, relative to it. */
async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { recursive: true })) {
    if ((await stat(join(folder, entry))).isFile()) found.push(entry);
  }
  return found.sort();
}

it('kill −9 of everything amid twenty uploads loses nothing acknowledged and leaves nothing else', async () => {
  const folder = await temporaryFolder();
  const env = { MBK_UPLOAD_STALE: '5s', MBK_JOB_LEASE: '5s' };
  const first = await startServer({ dataFolder: folder.path, env });
  const me = await Api.register(first.url);
  const project = await me.project();
  const pictures = await Promise.all([0, 1, 2, 3].map((n) => photo(1600 + n * 100, 1200)));

  const acknowledged = new Map<string, string>();
  const uploads = Array.from({ length: 20 }, async (_, n) => {
    const bytes = pictures[n % pictures.length] ?? Buffer.alloc(0);
    // Spread over time, so that the blow finds uploads at every stage.
    await pause(n * 60);
    const answer = await me.upload(project, `${n}.jpg`, bytes).catch(() => undefined);
    if (answer?.status === 201)
      acknowledged.set(answer.body.id, createHash('sha256').update(bytes).digest('hex'));
  });
  await until('some uploads are acknowledged', 30, () => Promise.resolve(acknowledged.size >= 6));
  await first.killTree();
  await Promise.all(uploads);
  expect(acknowledged.size).toBeLessThan(20);

  const second = await startServer({ dataFolder: folder.path, port: first.port, env });
  const settled = async (): Promise<FileView[]> => me.files(project);
  await until('every file is processed', 60, async () =>
    (await settled()).every((file) => file.status === 'ready'),
  );
  const files = await settled();
  for (const [id, sha256] of acknowledged) {
    expect(files.find((file) => file.id === id)).toMatchObject({ status: 'ready', sha256 });
  }
  // What the blow cut off is given up once it has been silent for MBK_UPLOAD_STALE: its reservation comes back …
  interface Usage {
    readonly usage: {
      readonly reservedBytes: number;
      readonly originalBytes: number;
      readonly files: number;
    };
  }
  const usage = async () => (await me.call<Usage>('GET', `/projects/${project}`)).body.usage;
  await until('every reservation is back', 90, async () => (await usage()).reservedBytes === 0);
  expect(await usage()).toMatchObject({
    files: files.length,
    originalBytes: files.reduce((sum, file) => sum + file.size, 0),
  });
  // … and its bytes go: the store holds what the rows name, the original and three variants of each file.
  const blobs = join(folder.path, 'blobs');
  const expected = files.flatMap((file) => [file.id, file.id, file.id, file.id]).sort();
  await until('nothing but named blobs is left', 60, async () => {
    // Beside them stands the mark that says whose store it is.
    const ids = (await filesBelow(blobs))
      .filter((path) => path !== '.mediablobkit/identity.json')
      .map((path) => /([0-9a-f-]{36})(\.\d+)?\.\w+$/.exec(path)?.[1] ?? path);
    return JSON.stringify(ids.sort()) === JSON.stringify(expected);
  });
  for (const path of await filesBelow(blobs)) {
    if (!path.includes('/files/')) continue;
    const id = /([0-9a-f-]{36})\.\w+$/.exec(path)?.[1];
    const hash = createHash('sha256')
      .update(await readFile(join(blobs, path)))
      .digest('hex');
    expect(files.find((file) => file.id === id)?.sha256).toBe(hash);
  }
  expect(await second.stop()).toBe(0);
  await folder.remove();
}, 240_000);
