import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createSweepScene, type SweepScene } from '../../test/sweep-scene.js';
import { writeIdentity } from '../foundation/blobs/identity.js';
import { openDiskStore } from '../foundation/blobs/disk.js';
import { newId } from '../foundation/ids.js';

const main = join(import.meta.dirname, '../../dist/main.js');

let scene: SweepScene;
beforeEach(async () => {
  scene = await createSweepScene();
  await scene.file();
});
afterEach(async () => {
  await scene.close();
  await rm(dataFolder(), { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** Starts `mediablobkit cleanup …` of the built program on the scene's database and store. */
function start(args: readonly string[], env: Record<string, string> = {}) {
  return spawn(process.execPath, [main, 'cleanup', ...args], {
    cwd: scene.folder,
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: scene.testDatabase.url,
      MBK_DATA_FOLDER: dataFolder(),
      LOG_LEVEL: 'error',
      ...env,
    },
  });
}

/** Runs it to its end. */
async function cleanup(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = start(args, env);
  const [out, error, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, out, error };
}

/** The disk store is `blobs` in the data folder. */
const dataFolder = (): string => `${scene.folder}-data`;
async function layStore(): Promise<void> {
  await mkdir(dataFolder());
  await rename(scene.folder, join(dataFolder(), 'blobs'));
  await mkdir(scene.folder);
}

describe('mediablobkit cleanup sweep', () => {
  it('says each finding in a line, and how it ended in its exit code', async () => {
    const key = await scene.blob(scene.strayKey());
    await scene.blob('readme.txt');
    await layStore();
    const dry = await cleanup(['sweep', '--dry-run']);
    expect(dry).toMatchObject({ code: 1, error: '' });
    expect(dry.out).toContain(`without a row: ${key}: 16 B, 2 d old, no row names it\n`);
    expect(dry.out).toContain('foreign: readme.txt: ');
    expect(dry.out).toContain('Seen: 2 blobs, 35 B; 1 rows (dry-run).');

    const done = await cleanup(['sweep', '--delete', '--json']);
    expect(done).toMatchObject({ code: 0, error: '' });
    const lines = done.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toMatchObject([
      { type: 'finding', kind: 'foreign', key: 'readme.txt', outcome: null },
      { type: 'finding', kind: 'orphan', key, size: 16, outcome: 'quarantined' },
      { type: 'summary', mode: 'delete', orphans: 1, quarantined: 1, remaining: 0, refusal: null },
    ]);
    expect(await cleanup(['sweep'])).toMatchObject({ code: 0 });

    const store = await openDiskStore({ folder: join(dataFolder(), 'blobs') });
    await writeIdentity(store, newId());
    await store.close();
    const refused = await cleanup(['sweep', '--delete']);
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.error).toContain('the mark of another installation');
  }, 60_000);
});

it('a sweep that is killed in the middle of its moves is continued by the next', async () => {
  const keys: string[] = [];
  for (let n = 0; n < 400; n += 1) keys.push(await scene.blob(scene.strayKey()));
  await layStore();
  const { db } = scene;
  const env = { MBK_SWEEP_BRAKE: '100' };
  const child = start(['sweep', '--delete'], env);
  const moved = async (): Promise<number> =>
    (await db.selectFrom('quarantined_blobs').select('key').where('moved_at', 'is not', null).execute())
      .length;
  await expect.poll(moved, { interval: 5, timeout: 30_000 }).toBeGreaterThan(20);
  child.kill('SIGKILL');
  await once(child, 'close');
  expect(await moved()).toBeLessThan(400);
  // Somebody who comes at once is told to wait; then the lease is over.
  expect(await cleanup(['sweep', '--delete'], env)).toMatchObject({ code: 2 });
  await db
    .updateTable('sweeps')
    .set({ held_until: new Date(0) })
    .execute();
  const end = await cleanup(['sweep', '--delete', '--json'], env);
  expect(end).toMatchObject({ code: 0, error: '' });
  const summary = JSON.parse(end.out.trim().split('\n').at(-1) ?? '') as object;
  // Each was counted once, though some had been moved when nobody could write it down any more.
  expect(summary).toMatchObject({ blobs: 401, orphans: 400, quarantined: 400, failures: 0 });
  const store = await openDiskStore({ folder: join(dataFolder(), 'blobs') });
  const aside: string[] = [];
  for await (const { key } of store.list({ prefix: '.quarantine/' })) aside.push(key);
  await store.close();
  expect(aside).toEqual(keys.sort().map((key) => `.quarantine/${key}`));
}, 60_000);

it('mediablobkit cleanup integrity reads, and says what is lost', async () => {
  const lost = await scene.file();
  await scene.blobs.delete(lost.key);
  await layStore();
  const first = await cleanup(['integrity', '--bytes', '1MiB']);
  expect(first).toMatchObject({ code: 1, error: '' });
  expect(first.out).toContain(`missing: ${lost.key}: 19 B, it is not in the store; its file is marked\n`);
  expect(first.out).toContain('Read: 2 blobs, 19 B; 1 missing, 0 corrupt');
  const nothing = await cleanup(['integrity'], { MBK_INTEGRITY_BYTES_PER_DAY: '0' });
  expect(nothing).toMatchObject({ code: 2, error: expect.stringContaining('--bytes') });
}, 60_000);

it('other cleanups run what the timetable runs; what means nothing is refused', async () => {
  await layStore();
  expect(await cleanup(['jobs'])).toMatchObject({ code: 0, out: 'forget-jobs: nothing\n' });
  expect(await cleanup(['variants'])).toMatchObject({ code: 0, out: 'collect-variants: nothing\n' });
  const unknown = await cleanup(['everything']);
  expect(unknown).toMatchObject({
    code: 2,
    error: expect.stringContaining('There is no cleanup of everything'),
  });
  const both = await cleanup(['sweep', '--dry-run', '--delete']);
  expect(both).toMatchObject({ code: 2, error: expect.stringContaining('exclude each other') });
  const odd = await cleanup(['jobs', '--delete']);
  expect(odd).toMatchObject({ code: 2, error: expect.stringContaining('means nothing') });
}, 60_000);

it('a dry run says what the real one then takes, and takes nothing', async () => {
  const { db, projectId } = scene;
  for (let n = 0; n < 3; n += 1) await scene.file();
  await db
    .updateTable('files')
    .set({ deleted_at: sql<Date>`now() - interval '31 days'` })
    .execute();
  await db
    .updateTable('project_usage')
    .set((eb) => ({ trash_bytes: eb.ref('original_bytes') }))
    .execute();
  await layStore();
  const due = { type: 'due', name: 'purge-trash', counts: { files: 4, projects: 0 } };
  const dry = await cleanup(['trash', '--dry-run', '--json']);
  expect({ ...dry, out: JSON.parse(dry.out) as unknown }).toEqual({ code: 1, error: '', out: due });
  expect(await cleanup(['trash'])).toEqual({ code: 0, error: '', out: 'purge-trash: 4 files\n' });
  expect(await cleanup(['blobs', '--dry-run'])).toMatchObject({
    code: 1,
    out: 'purge-blobs would take: 4 blobs\n',
  });
  await db
    .updateTable('installation')
    .set({ deletions_paused_at: sql<Date>`now()` })
    .execute();
  // What the run would refuse, the dry run refuses too.
  const paused = await cleanup(['blobs', '--dry-run']);
  expect(paused.out).toBe('purge-blobs would take: nothing\n');
  expect(paused.error).toContain('restore');
  expect(await db.selectFrom('files').select('id').where('project_id', '=', projectId).execute()).toEqual([]);
}, 60_000);
