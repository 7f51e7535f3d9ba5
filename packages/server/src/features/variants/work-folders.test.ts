import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, it } from 'vitest';

import { createLog } from '../../foundation/log.js';
import { createWorkFolders, type WorkFolders } from './work-folders.js';

let parent: string;
let folders: WorkFolders;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'mbk-work-'));
  folders = createWorkFolders(parent, await createLog({ level: 'silent', pretty: false }));
});
afterEach(() => rm(parent, { recursive: true, force: true }));

it('a folder is there for the work, and gone after it', async () => {
  await folders.use(async (folder) => {
    expect(await readdir(folder)).toEqual([]);
    await writeFile(join(folder, 'original'), 'bytes');
  });
  await expect(folders.use(() => Promise.reject(new Error('the work failed')))).rejects.toThrow(
    'the work failed',
  );
  expect(await readdir(parent)).toEqual([]);
});

it('what a killed worker left is removed when it can no longer be alive; nothing else is', async () => {
  const hourAgo = new Date(Date.now() - 3600_000);
  for (const name of ['render-old', 'render-young', 'other']) {
    await mkdir(join(parent, name));
    await writeFile(join(parent, name, 'original'), 'bytes');
  }
  for (const name of ['render-old', 'other']) await utimes(join(parent, name), hourAgo, hourAgo);
  await folders.use(() => Promise.resolve());
  expect((await readdir(parent)).sort()).toEqual(['other', 'render-young']);
});
