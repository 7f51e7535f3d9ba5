import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createCopyScene, type CopyScene } from '../../../../test/copy-scene.js';
import { createTestDatabase, type TestDatabase } from '../../../../test/database.js';
import { openDiskStore } from '../../../foundation/blobs/disk.js';
import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { openDatabase, type Db } from '../../../foundation/database/connect.js';
import { dumpTables } from '../../../foundation/database/dump.js';
import { migrate } from '../../../foundation/database/migrate.js';
import { newId } from '../../../foundation/ids.js';
import { createLog } from '../../../foundation/log.js';
import { bury } from '../../files/queries.js';
import { inTransaction } from '../../projects/queries.js';
import { findInstallation, liftPause } from '../identity-queries.js';
import { purgeDueKeys } from '../purge.js';
import { adoptStore, storeFault } from '../store-identity.js';
import { makeBackup, type BackupOptions } from './backup.js';
import type { BackupDescription } from './format.js';
import { isHeld, renewHold, takeHold } from './hold-queries.js';
import { readManifest } from './manifest.js';
import { restoreBlobs, restoreRows } from './restore.js';

const migrations = new URL('../../../../migrations/', import.meta.url);
const never = new AbortController().signal;

let scene: CopyScene;
let target: TestDatabase;
let to: string;
beforeEach(async () => {
  scene = await createCopyScene();
  target = await createTestDatabase({ empty: true });
  to = join(scene.scratch, 'backup');
});
afterEach(async () => {
  await target.close();
  await scene.close();
});

function backup(changes: Partial<BackupOptions> = {}): Promise<BackupDescription> {
  return makeBackup({
    db: scene.db,
    url: scene.databaseUrl,
    migrations,
    to,
    blobs: scene.source,
    storeFolder: scene.from.path,
    program: 'test',
    signal: never,
    onFailure: () => undefined,
    ...changes,
  });
}

function restore(force = false, from = to): Promise<BackupDescription> {
  return restoreRows({ url: target.url, migrations, from, force });
}

/** All rows of all tables as text, but what a restore changes on purpose. */
async function rowsOf({ database }: Pick<TestDatabase, 'database'>, tables: readonly string[]) {
  const found: Record<string, unknown> = {};
  for (const name of tables) {
    const { rows } = await database.pool.query<{ row: string }>(
      `SELECT (to_jsonb(t) - 'deletions_paused_at')::text AS row FROM ${name} AS t ORDER BY 1`,
    );
    found[name] = rows.map(({ row }) => row);
  }
  return found;
}

async function purge(db: Db, blobs: BlobStore) {
  const log = await createLog({ level: 'silent', pretty: false });
  return purgeDueKeys({ db, blobs, log, signal: never, batch: 100, cap: 1_000 });
}

function buryKey(db: Db, key: string): Promise<void> {
  return inTransaction(db, (tx) => bury(tx, [{ key, projectId: scene.projectId, reason: 'test' }]));
}

async function leftovers(): Promise<readonly string[]> {
  return (await readdir(scene.scratch)).filter((name) => name.includes('backup'));
}

describe('a backup', () => {
  it('becomes the same rows and blobs again, at the present schema', async () => {
    const keys = [await scene.upload(randomBytes(1_000)), await scene.upload(randomBytes(300_000))];
    // What a careless format would change: null beside the empty text, quotes, line ends, bytes, fractions, arrays.
    await scene.db
      .updateTable('files')
      .set({ filename: 'a "b",\r\n\\.\n\tü🎈', declared_type: '', focal_x: 0.1, focal_y: 1 / 3 })
      .where('s3_key', '=', keys[0]!)
      .execute();
    const { tables } = await backup();
    expect(tables.find(({ name }) => name === 'files')?.rows).toBe(2);
    expect((await stat(to)).mode & 0o777).toBe(0o700);

    await restore();
    const names = tables.map(({ name }) => name).filter((name) => name !== 'blob_holds');
    const source = await createReader(scene.databaseUrl);
    try {
      expect(await rowsOf(target, names)).toEqual(await rowsOf(source, names));
    } finally {
      await source.close();
    }
    expect(await isHeld(scene.db)).toBe(false);
    expect(await isHeld(target.database.db)).toBe(false);

    const store = await openDiskStore({ folder: scene.to.path });
    const put = () =>
      restoreBlobs({ from: to, blobs: store, signal: never, onFailure: (key) => expect.fail(key) });
    expect(await put()).toEqual({ moved: 2, there: 0, failures: 0 });
    for (const key of keys) {
      expect(await readFile(join(scene.to.path, key))).toEqual(await readFile(join(scene.from.path, key)));
    }
    // Only what is missing or different is put back.
    await store.put(keys[0]!, randomBytes(1_000));
    await store.put(keys[1]!, randomBytes(10));
    expect(await put()).toEqual({ moved: 2, there: 0, failures: 0 });
    expect(await put()).toEqual({ moved: 0, there: 2, failures: 0 });
    await store.close();
  });

  it('shares files with the store where it can, and stays what it is when the store deletes them', async () => {
    const key = await scene.upload(randomBytes(5_000));
    const bytes = await readFile(join(scene.from.path, key));
    // On the store's own file system, which need not be that of the scratch folder.
    const beside = `${scene.from.path}-backup`;
    try {
      await backup({ to: beside });
      expect((await stat(join(beside, 'blobs', key))).nlink).toBe(2);
      await scene.source.delete(key);
      expect(await readFile(join(beside, 'blobs', key))).toEqual(bytes);
    } finally {
      await rm(beside, { recursive: true, force: true });
    }
  });

  it('is of one moment, beside uploads', async () => {
    await scene.upload(randomBytes(100));
    const stop = new AbortController();
    const uploading = (async () => {
      while (!stop.signal.aborted) await scene.upload(randomBytes(500));
    })();
    try {
      await backup();
    } finally {
      stop.abort();
      await uploading;
    }
    await restore();
    const held = await target.database.pool.query<{ files: number; counted: number }>(
      `SELECT (SELECT count(*) FROM files WHERE status = 'ready')::int AS files,
        (SELECT file_count FROM project_usage)::int AS counted`,
    );
    const named = [];
    for await (const blob of readManifest(to)) named.push(blob.key);
    expect(held.rows[0]?.files).toBe(named.length);
    for (const key of named) await stat(join(to, 'blobs', key));
  });

  it('is not there when a blob is missing or altered', async () => {
    const [lost, altered] = [await scene.upload(randomBytes(10)), await scene.upload(randomBytes(20))];
    await scene.source.delete(lost);
    await writeFile(join(scene.from.path, altered), randomBytes(20));
    const told: string[] = [];
    await expect(backup({ onFailure: (key) => told.push(key) })).rejects.toThrow(
      '2 blobs are missing or altered',
    );
    expect(told.sort()).toEqual([lost, altered].sort());
    expect(await leftovers()).toEqual([]);
    expect(await isHeld(scene.db)).toBe(false);
    // The rows alone need no blobs.
    await backup({ blobs: undefined });
  });

  it('never replaces anything', async () => {
    await mkdir(to);
    await expect(backup()).rejects.toThrow('exists already');
    expect(await leftovers()).toEqual(['backup']);
    await expect(backup({ to: join(scene.scratch, 'none/backup') })).rejects.toThrow('is missing');
  });

  it('that is interrupted leaves no folder and no hold', async () => {
    await scene.upload(randomBytes(10));
    await expect(backup({ signal: AbortSignal.abort() })).rejects.toThrow('abort');
    expect(await leftovers()).toEqual([]);
    expect(await isHeld(scene.db)).toBe(false);
  });
});

describe('the hold of a backup', () => {
  it('keeps blobs in the store until it is let go, or its process is silent for long', async () => {
    const key = await scene.upload(randomBytes(10));
    const hold = await takeHold(scene.db);
    await scene.db.deleteFrom('files').where('s3_key', '=', key).execute();
    await buryKey(scene.db, key);
    expect(await purge(scene.db, scene.source)).toMatchObject({ deleted: 0, failed: 0 });
    expect(await scene.source.stat(key)).toBeDefined();
    expect(await renewHold(scene.db, hold)).toBe(true);
    await scene.db
      .updateTable('blob_holds')
      .set({ until: new Date(0) })
      .execute();
    expect(await renewHold(scene.db, hold)).toBe(false);
    expect(await purge(scene.db, scene.source)).toMatchObject({ deleted: 1 });
    expect(await scene.source.stat(key)).toBeUndefined();
  });
});

describe('a restore', () => {
  it('destroys nothing until a person has looked', async () => {
    const doomed = await scene.upload(randomBytes(10));
    await scene.db.deleteFrom('files').where('s3_key', '=', doomed).execute();
    await buryKey(scene.db, doomed);
    await backup({ blobs: undefined });
    await restore();
    const { db } = target.database;
    const pair = { db, blobs: scene.source };
    expect(await storeFault(pair)).toContain('mediablobkit restore --done');
    expect(await purge(db, scene.source)).toMatchObject({ deleted: 0, failed: 0 });
    expect(await scene.source.stat(doomed)).toBeDefined();
    expect(await liftPause(db)).toBe(true);
    expect(await storeFault(pair)).toBeUndefined();
    expect(await purge(db, scene.source)).toMatchObject({ deleted: 1 });
  });

  it('is over when the store is adopted', async () => {
    await backup({ blobs: undefined });
    await restore();
    const { db } = target.database;
    await adoptStore({ db, blobs: scene.source });
    expect(await findInstallation(db)).toMatchObject({ deletionsPausedAt: null });
  });

  it('of an older schema ends at the present one', async () => {
    const older = await mkdtemp(join(tmpdir(), 'mbk-older-'));
    const former = await createTestDatabase({ empty: true });
    try {
      for (const name of await readdir(migrations)) {
        if (name < '0016') await cp(new URL(name, migrations), join(older, name));
      }
      const log = await createLog({ level: 'silent', pretty: false });
      await migrate({ url: former.url, folder: older, log });
      await former.database.pool.query('INSERT INTO installation (id) VALUES ($1)', [newId()]);
      const folder = await mkdtemp(join(scene.scratch, 'older-'));
      const beside = () => Promise.resolve();
      const dump = await dumpTables({ url: former.url, migrations: older, folder, signal: never, beside });
      const empty = createHash('sha256').digest('hex');
      const blobs = { count: 0, bytes: 0, sha256: empty, included: false };
      const rest = { format: 1, program: 'older', madeAt: new Date(0).toISOString(), installation: null };
      await writeFile(join(folder, 'backup.json'), JSON.stringify({ ...rest, ...dump, blobs }));
      await writeFile(join(folder, 'blobs.jsonl'), '');
      await restore(false, folder);
      expect(await findInstallation(target.database.db)).toMatchObject({ marked: false });
      const { rows } = await target.database.pool.query<{ name: string }>(
        'SELECT name FROM schema_migrations',
      );
      expect(rows).toHaveLength((await readdir(migrations)).length);
    } finally {
      await former.close();
      await rm(older, { recursive: true });
    }
  });

  it('gives back the jobs that were running', async () => {
    await scene.db
      .insertInto('running_jobs')
      .values({
        ...{ id: newId(), token: newId(), holder: 'gone', lease_until: new Date(), kind: 'k', payload: '{}' },
        ...{ lane: 0, attempt: 1, max_attempts: 1, created_at: new Date() },
      })
      .execute();
    await backup({ blobs: undefined });
    await restore();
    const { db } = target.database;
    expect(await db.selectFrom('running_jobs').selectAll().execute()).toEqual([]);
    const [job] = await db.selectFrom('waiting_jobs').selectAll().where('kind', '=', 'k').execute();
    expect(job).toMatchObject({ attempt: 1, max_attempts: 2 });
  });

  it('replaces projects only when it is forced to', async () => {
    await backup({ blobs: undefined });
    await restore();
    await target.database.pool.query("UPDATE projects SET name = 'kept'");
    await target.database.pool.query('CREATE TABLE of_others (id int)');
    await expect(restore()).rejects.toThrow('--force');
    const names = () => target.database.pool.query<{ name: string }>('SELECT name FROM projects');
    expect((await names()).rows).toEqual([{ name: 'kept' }]);
    await restore(true);
    expect((await names()).rows).toEqual([{ name: 'copied' }]);
    // What is not ours stays.
    await target.database.pool.query('SELECT FROM of_others');
  });

  it.each<[string, (description: BackupDescription) => unknown, string]>([
    ['a newer format', (found) => ({ ...found, format: 2 }), 'has format 2'],
    ['another program', () => ({ hello: 1 }), 'is not that of a backup'],
    [
      'a newer schema',
      (found) => ({
        ...found,
        migrations: [...found.migrations, { version: 9999, name: '9999_far', checksum: '0'.repeat(64) }],
      }),
      'with the newer program',
    ],
    [
      'an edited migration',
      (found) => ({
        ...found,
        migrations: found.migrations.map((one) => ({ ...one, checksum: '0'.repeat(64) })),
      }),
      'is another one',
    ],
    ['a lost table', (found) => ({ ...found, tables: found.tables.slice(1) }), 'differ in the table'],
    [
      'a table outside of the folder',
      (found) => ({ ...found, tables: [{ ...found.tables[0], name: '../../x' }] }),
      'is not that of a backup',
    ],
  ])('refuses %s', async (_what, change, why) => {
    const description = await backup({ blobs: undefined });
    await writeFile(join(to, 'backup.json'), JSON.stringify(change(description)));
    await expect(restore()).rejects.toThrow(why);
    const { rows } = await target.database.pool.query('SELECT FROM pg_class WHERE relname = $1', ['files']);
    expect(rows).toEqual([]);
  });

  it('refuses parts that are damaged or gone', async () => {
    await backup({ blobs: undefined });
    await writeFile(join(to, 'tables/users.csv'), 'x');
    await expect(restore()).rejects.toThrow('is not the file that was backed up');
    await rm(join(to, 'tables/users.csv'));
    await expect(restore()).rejects.toThrow('lacks');
    await expect(restore(false, scene.scratch)).rejects.toThrow('There is no backup');
  });
});

async function createReader(url: string) {
  const database = openDatabase({
    ...{ url, poolSize: 1, statementTimeoutMs: 15_000, lockTimeoutMs: 10_000, applicationName: 'reader' },
    log: await createLog({ level: 'silent', pretty: false }),
  });
  return { database, close: () => database.close() };
}
