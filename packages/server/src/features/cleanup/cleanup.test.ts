import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { createUploadKit, type UploadKit } from '../../../test/upload-kit.js';
import { StoreUnavailable, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { originalKey, variantKey } from '../../foundation/blobs/keys.js';
import { newId } from '../../foundation/ids.js';
import { createLog } from '../../foundation/log.js';
import { openFile } from '../files/intake-queries.js';
import { bury } from '../files/queries.js';
import { inTransaction } from '../projects/queries.js';
import { purgeDueKeys, type PurgeResult } from './purge.js';

let kit: UploadKit;
let project: string;
beforeAll(async () => {
  kit = await createUploadKit({ uploadStaleSeconds: 300 });
});
beforeEach(async () => {
  await kit.db.deleteFrom('tombstones').execute();
  await kit.db.deleteFrom('waiting_jobs').execute();
  project = await kit.project();
});
afterAll(() => kit.close());

/** Stores a blob that no row names and buries its key. */
async function buried(options: { againAfter?: number } = {}): Promise<string> {
  const key = originalKey(project, newId(), 'bin');
  await kit.blobs.put(key, Buffer.from('x'));
  await inTransaction(kit.db, (tx) => bury(tx, [{ key, projectId: project, reason: 'test', ...options }]));
  return key;
}

async function purge(
  options: { blobs?: Partial<BlobStore>; cap?: number; batch?: number } = {},
): Promise<PurgeResult> {
  return purgeDueKeys({
    db: kit.db,
    blobs: { ...kit.blobs, ...options.blobs },
    log: await createLog({ level: 'silent', pretty: false }),
    signal: new AbortController().signal,
    batch: options.batch ?? 100,
    cap: options.cap ?? 1000,
  });
}

function tombstones() {
  return kit.db.selectFrom('tombstones').selectAll().orderBy('key').execute();
}

/** Begins an upload that was heard of `silentSeconds` ago. */
async function uploading(silentSeconds: number, bytes = 1000): Promise<{ id: string; key: string }> {
  const id = newId();
  const key = originalKey(project, id, 'bin');
  await inTransaction(kit.db, (tx) =>
    openFile(
      tx,
      {
        id,
        projectId: project,
        key,
        filename: 'a',
        mimeType: 'application/octet-stream',
        declaredType: null,
        createdBy: {},
        need: bytes,
        want: bytes,
      },
      { bytes: null, files: null },
    ),
  );
  await kit.db
    .updateTable('files')
    .set({ heartbeat_at: new Date(Date.now() - silentSeconds * 1000) })
    .where('id', '=', id)
    .execute();
  return { id, key };
}

describe('burying a key', () => {
  it('asks for one purge, however many are buried', async () => {
    await buried();
    await buried();
    const jobs = await kit.db.selectFrom('waiting_jobs').select(['kind', 'dedupe_key']).execute();
    expect(jobs).toEqual([{ kind: 'purge-blobs', dedupe_key: 'purge-blobs' }]);
  });

  it('counts only when its transaction does', async () => {
    await expect(
      inTransaction(kit.db, async (tx) => {
        await bury(tx, [{ key: 'k', projectId: project, reason: 'test' }]);
        throw new Error('rolled back');
      }),
    ).rejects.toThrow('rolled back');
    expect(await tombstones()).toEqual([]);
    expect(await kit.db.selectFrom('waiting_jobs').selectAll().execute()).toEqual([]);
  });

  it('twice keeps the later of the two second times', async () => {
    for (const againAfter of [100, undefined, 900, 50]) {
      await inTransaction(kit.db, (tx) =>
        bury(tx, [{ key: 'k', projectId: project, reason: 'test', ...(againAfter && { againAfter }) }]),
      );
    }
    const [row] = await tombstones();
    expect((row?.again_after?.getTime() ?? 0) - (row?.created_at.getTime() ?? 0)).toBeGreaterThan(890_000);
  });
});

describe('the purge', () => {
  it('deletes buried blobs and forgets their keys; an absent blob is success', async () => {
    const keys = [await buried(), await buried()];
    await kit.blobs.delete(keys[0]!);
    expect(await purge()).toEqual({ deleted: 2, failed: 0, more: false });
    expect(await kit.blobs.stat(keys[1]!)).toBeUndefined();
    expect(await tombstones()).toEqual([]);
  });

  it('never deletes a key that a living row names, not even one in the trash', async () => {
    const upload = await uploading(0);
    const variant = variantKey(project, 'thumbnail', upload.id, 'webp');
    const pending = variantKey(project, 'thumbnail', upload.id, 'webp', 2);
    await kit.db
      .insertInto('variants')
      .values({
        file_id: upload.id,
        project_id: project,
        name: 'thumbnail',
        status: 'rendering',
        recipe: '{}',
        recipe_digest: 'x',
        s3_key: variant,
        pending_key: pending,
      })
      .execute();
    await kit.db.updateTable('files').set({ deleted_at: new Date() }).where('id', '=', upload.id).execute();
    const living = [upload.key, variant, pending];
    for (const key of living) await kit.blobs.put(key, Buffer.from('x'));
    await inTransaction(kit.db, (tx) =>
      bury(
        tx,
        living.map((key) => ({ key, projectId: project, reason: 'a mistake' })),
      ),
    );
    const worthless = await buried();
    await purge();
    for (const key of living) expect(await kit.blobs.stat(key)).toBeDefined();
    expect(await kit.blobs.stat(worthless)).toBeUndefined();
    expect(await tombstones()).toEqual([]);
  });

  it('deletes a key that somebody may still be writing once more later', async () => {
    const key = await buried({ againAfter: 900 });
    await purge();
    expect(await kit.blobs.stat(key)).toBeUndefined();
    const [waiting] = await tombstones();
    expect(waiting).toMatchObject({ key, again_after: null, attempts: 0 });
    expect((waiting?.not_before.getTime() ?? 0) - Date.now()).toBeGreaterThan(800_000);
    expect(await purge()).toEqual({ deleted: 0, failed: 0, more: false });

    // The late writer, and then the second time.
    await kit.blobs.put(key, Buffer.from('late'));
    await kit.db
      .updateTable('tombstones')
      .set({ not_before: new Date(0) })
      .execute();
    await purge();
    expect(await kit.blobs.stat(key)).toBeUndefined();
    expect(await tombstones()).toEqual([]);
  });

  it('puts off what the store does not let go, more and more, with the reason', async () => {
    const [stuck, free] = [await buried(), await buried()];
    const blobs: Partial<BlobStore> = {
      deleteMany: async (keys) => {
        await kit.blobs.deleteMany(keys.filter((key) => key !== stuck));
        return keys.includes(stuck) ? [{ key: stuck, reason: 'access denied' }] : [];
      },
    };
    expect(await purge({ blobs })).toEqual({ deleted: 1, failed: 1, more: false });
    expect(await kit.blobs.stat(free)).toBeUndefined();
    let [row] = await tombstones();
    expect(row).toMatchObject({ key: stuck, attempts: 1, last_error: 'access denied' });
    expect((row?.not_before.getTime() ?? 0) - Date.now()).toBeLessThan(31_000);

    await kit.db
      .updateTable('tombstones')
      .set({ not_before: new Date(0), attempts: 3 })
      .execute();
    await purge({ blobs });
    [row] = await tombstones();
    expect((row?.not_before.getTime() ?? 0) - Date.now()).toBeGreaterThan(200_000);
    expect(await kit.blobs.stat(stuck)).toBeDefined();
  });

  it('puts everything off when the store is away', async () => {
    await buried();
    await buried();
    const blobs: Partial<BlobStore> = {
      deleteMany: () => Promise.reject(new StoreUnavailable('away', 'key')),
    };
    expect(await purge({ blobs })).toEqual({ deleted: 0, failed: 2, more: false });
    expect((await tombstones()).map(({ last_error: error }) => error)).toEqual(['away', 'away']);
  });

  it('takes at most its cap in one run, in batches', async () => {
    for (let count = 0; count < 5; count++) await buried();
    const batches: number[] = [];
    const blobs: Partial<BlobStore> = {
      deleteMany: (keys) => {
        batches.push(keys.length);
        return kit.blobs.deleteMany(keys);
      },
    };
    expect(await purge({ blobs, cap: 3, batch: 2 })).toEqual({ deleted: 3, failed: 0, more: true });
    expect(batches).toEqual([2, 1]);
    expect(await tombstones()).toHaveLength(2);
  });

  it('takes each key once, however many run at the same time', async () => {
    for (let count = 0; count < 20; count++) await buried();
    const results = await Promise.all(Array.from({ length: 4 }, () => purge({ batch: 3 })));
    expect(results.reduce((sum, { deleted }) => sum + deleted, 0)).toBe(20);
    expect(await tombstones()).toEqual([]);
  });
});

describe('unfinished uploads', () => {
  it('are given up when they have been silent for too long, and only then', async () => {
    const stale = await uploading(301);
    const alive = await uploading(290);
    await kit.blobs.put(stale.key, Buffer.from('half'));
    expect(await kit.usage(project)).toMatchObject({ reserved: 2000, reservedFiles: 2 });
    await kit.cleanup('expire-uploads');
    const left = await kit.db.selectFrom('files').select('id').where('project_id', '=', project).execute();
    expect(left).toEqual([{ id: alive.id }]);
    expect(await kit.usage(project)).toMatchObject({ reserved: 1000, reservedFiles: 1 });
    const [row] = await tombstones();
    expect(row).toMatchObject({ key: stale.key, reason: 'upload expired' });
    expect(row?.again_after).not.toBeNull();
    await kit.cleanup('purge-blobs');
    expect(await kit.blobs.stat(stale.key)).toBeUndefined();

    // A second run finds nothing to give back.
    await kit.cleanup('expire-uploads');
    expect(await kit.usage(project)).toMatchObject({ reserved: 1000, reservedFiles: 1 });
  });

  it('give back once, however many run at the same time', async () => {
    for (let count = 0; count < 10; count++) await uploading(1000);
    await Promise.all(Array.from({ length: 4 }, () => kit.cleanup('expire-uploads')));
    expect(await kit.usage(project)).toMatchObject({ reserved: 0, reservedFiles: 0 });
  });

  it('that are aborted already have given back', async () => {
    const { id } = await uploading(1000);
    await kit.db
      .updateTable('files')
      .set({ status: 'aborted', reserved_bytes: 0 })
      .where('id', '=', id)
      .execute();
    await kit.db
      .updateTable('project_usage')
      .set({ reserved_bytes: 0, reserved_files: 0 })
      .where('project_id', '=', project)
      .execute();
    await kit.cleanup('expire-uploads');
    expect(await kit.usage(project)).toMatchObject({ reserved: 0, reservedFiles: 0 });
    expect(await kit.db.selectFrom('files').select('id').where('id', '=', id).execute()).toEqual([]);
  });

  it('that are acknowledged are never touched', async () => {
    const { id } = await uploading(1000);
    await kit.db
      .updateTable('files')
      .set({ status: 'ready', reserved_bytes: 0, size: 1, sha256: Buffer.alloc(32) })
      .where('id', '=', id)
      .execute();
    await kit.cleanup('expire-uploads');
    expect(await kit.db.selectFrom('files').select('id').where('id', '=', id).execute()).toHaveLength(1);
  });
});
