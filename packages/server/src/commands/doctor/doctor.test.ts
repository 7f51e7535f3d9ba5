import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createTestDatabase } from '../../../test/database.js';
import { createSweepScene, type SweepScene } from '../../../test/sweep-scene.js';
import { openDiskStore } from '../../foundation/blobs/disk.js';
import { writeIdentity } from '../../foundation/blobs/identity.js';
import { newId } from '../../foundation/ids.js';

const main = join(import.meta.dirname, '../../../dist/main.js');
const [jwtSecret, linkSecret] = [
  'nX8vQ2mLr7Tz4KpWc9Yf3HsBd6JgEa1U0oRiNkVhMtQ=',
  'Zq5RwY1uTg8NbKx3LmVc7PdHs0FjEa9Xi2QoUyGtWv4=',
];

let scene: SweepScene;
const dataFolder = (): string => `${scene.folder}-data`;

beforeEach(async () => {
  scene = await createSweepScene();
  await scene.file();
  // The disk store is `blobs` in the data folder.
  await mkdir(dataFolder());
  await rename(scene.folder, join(dataFolder(), 'blobs'));
  await mkdir(scene.folder);
});
afterEach(async () => {
  await scene.close();
  await rm(dataFolder(), { recursive: true, force: true });
});

interface Row {
  readonly check: string;
  readonly status: string;
  readonly found: string;
  readonly todo?: string;
}

/** Runs `mediablobkit doctor` of the built program. */
async function run(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly code: number | null; readonly out: string; readonly error: string }> {
  const child = spawn(process.execPath, [main, 'doctor', ...args], {
    cwd: scene.folder,
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: scene.testDatabase.url,
      MBK_DATA_FOLDER: dataFolder(),
      MBK_PUBLIC_URL: 'https://media.example.com',
      MBK_TRUST_PROXY: '127.0.0.1',
      MBK_JWT_SECRET: jwtSecret,
      MBK_LINK_SECRET: linkSecret,
      ...env,
    },
  });
  const [out, error, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, out, error };
}

/** The same as rows by the name of their check. */
async function doctor(
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<{ readonly code: number | null; readonly rows: Readonly<Record<string, Row>> }> {
  const { code, out } = await run(['--json'], env);
  const { checks } = JSON.parse(out) as { checks: readonly Row[] };
  return { code, rows: Object.fromEntries(checks.map((row) => [row.check, row])) };
}

describe('mediablobkit doctor', () => {
  it('finds nothing wrong where nothing is', async () => {
    const { code, rows } = await doctor();
    expect(code).toBe(0);
    // What the machine lacks that runs this test is none of the installation's.
    const own = Object.values(rows).filter(
      ({ check }) => !['open-files', 'disk-space', 'memory', 'allocator', 'ffmpeg'].includes(check),
    );
    expect(own.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(rows['pictures']).toMatchObject({ found: 'jpeg, png, webp, gif, avif are written and read' });
    // It has left nothing in the store.
    expect(await readdir(join(dataFolder(), 'blobs', '.mediablobkit'))).toEqual(['identity.json']);
  }, 60_000);

  it('says what deserves a look, and what to do, and fails for none of it', async () => {
    const { db } = scene;
    await db
      .insertInto('timetable')
      .values({ name: 'purge-blobs', cron: '* * * * *', next_run_at: sql<Date>`now() - interval '2 hours'` })
      .execute();
    const job = { kind: 'render-variants', payload: '{}', project_id: scene.projectId, lane: 1 };
    await db
      .insertInto('waiting_jobs')
      .values({ ...job, id: newId(), turn: 1, run_at: sql<Date>`now() - interval '1 hour'`, max_attempts: 5 })
      .execute();
    await db
      .insertInto('finished_jobs')
      .values({
        ...job,
        id: newId(),
        state: 'dead',
        attempt: 5,
        error: 'broken',
        created_at: sql<Date>`now()`,
      })
      .execute();
    await db
      .insertInto('tombstones')
      .values({
        key: 'k',
        project_id: scene.projectId,
        reason: 'test',
        attempts: 9,
        last_error: 'access denied',
      })
      .execute();
    await sql`DROP INDEX files_name_search`.execute(db);
    const { code, rows } = await doctor({
      MBK_PUBLIC_URL: 'http://localhost:8420',
      MBK_IMAGING_PROCESSES: '256',
    });
    expect(code).toBe(0);
    expect(rows).toMatchObject({
      workers: { status: 'warn', found: 'purge-blobs has been due for 2 h' },
      queue: { status: 'warn', found: 'a job of the lane normal has waited for 60 min' },
      'dead-letters': { status: 'warn', found: '1 of render-variants' },
      deletions: { status: 'warn', found: 'the store does not let go of 1 blobs: access denied' },
      search: { status: 'warn', todo: expect.stringContaining('CREATE EXTENSION pg_trgm') as string },
      'public-url': { status: 'warn', todo: expect.stringContaining('MBK_PUBLIC_URL') as string },
      memory: { status: 'warn', todo: expect.stringContaining('MBK_IMAGING_PROCESSES') as string },
    });
    const { out } = await run([], {});
    expect(out).toMatch(/^warn {2}dead-letters {5}1 of render-variants\n {23}→ Look at their errors/m);
    expect(out).toMatch(/\n0 fail, \d+ deserve a look\.\n$/);
  }, 60_000);

  it('fails for a store that is another database’s, and for programs and secrets that are not there', async () => {
    const store = await openDiskStore({ folder: join(dataFolder(), 'blobs') });
    const other = newId();
    await writeIdentity(store, other);
    await store.close();
    const { code, rows } = await doctor({ MBK_FFMPEG: '/nowhere/ffmpeg', MBK_LINK_SECRET: undefined });
    expect(code).toBe(1);
    expect(rows).toMatchObject({
      identity: { status: 'fail', todo: expect.stringContaining(other) as string },
      ffmpeg: { status: 'fail', todo: expect.stringContaining('MBK_FFMPEG') as string },
      secrets: { status: 'fail', todo: expect.stringContaining('openssl rand') as string },
    });
  }, 60_000);

  it('fails for a store that cannot be used', async () => {
    const blobs = join(dataFolder(), 'blobs');
    await rm(join(blobs, '.tmp'), { recursive: true });
    await writeFile(join(blobs, '.tmp'), 'a file where a folder must be');
    const { code, rows } = await doctor();
    expect(code).toBe(1);
    expect(rows).toMatchObject({
      store: { status: 'fail', todo: expect.stringContaining('MBK_DATA_FOLDER') as string },
      'store-abilities': { status: 'none' },
      identity: { status: 'none' },
      database: { status: 'ok' },
    });
  }, 60_000);

  it('fails for a database that does not answer, and does not wait for it', async () => {
    const { code, rows } = await doctor({
      DATABASE_URL: 'postgres://mediablobkit:hidden@127.0.0.1:1/nothing',
    });
    expect(code).toBe(1);
    expect(rows['database']).toMatchObject({
      status: 'fail',
      todo: expect.stringContaining('DATABASE_URL') as string,
    });
    expect(JSON.stringify(rows)).not.toContain('hidden');
    for (const check of [
      'migrations',
      'clock',
      'search',
      'identity',
      'workers',
      'queue',
      'dead-letters',
      'deletions',
    ]) {
      expect(rows[check]).toMatchObject({ status: 'none' });
    }
  }, 60_000);

  it('migrates nothing, and tells a schema that is old from one that is too new', async () => {
    const empty = await createTestDatabase({ empty: true });
    try {
      const old = await doctor({ DATABASE_URL: empty.url });
      expect(old).toMatchObject({
        code: 0,
        rows: { migrations: { status: 'warn' }, search: { status: 'none' }, queue: { status: 'none' } },
      });
      const { rows } = await sql`SELECT FROM pg_tables WHERE schemaname = 'public'`.execute(
        empty.database.db,
      );
      expect(rows).toEqual([]);
    } finally {
      await empty.close();
    }
    await sql`INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, '9999_future', 'x')`.execute(
      scene.db,
    );
    const future = await doctor();
    expect(future).toMatchObject({
      code: 1,
      rows: { migrations: { status: 'fail', todo: expect.stringContaining('9999_future') as string } },
    });
  }, 60_000);

  it('could not look when the settings cannot be read', async () => {
    const { code, error } = await run([], { MBK_DATABASE_POOL_SIZE: 'many' });
    expect(code).toBe(2);
    expect(error).toContain('MBK_DATABASE_POOL_SIZE');
  }, 60_000);
});
