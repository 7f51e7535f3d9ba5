import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createSweepScene, type SweepScene } from '../../../../test/sweep-scene.js';
import { StoreUnavailable } from '../../../foundation/blobs/blob-store.js';
import { quarantineFolder } from '../../../foundation/blobs/keys.js';
import { newId } from '../../../foundation/ids.js';

let scene: SweepScene;
beforeEach(async () => {
  scene = await createSweepScene();
  await scene.file();
});
afterEach(() => scene.close());

/** Lets a row name the key from now on, as one that came back with a backup would. */
async function revive(key: string): Promise<void> {
  const id = key.split('/')[2]!.split('.')[0]!;
  await scene.db
    .insertInto('files')
    .values({
      id,
      project_id: scene.projectId,
      s3_key: key,
      filename: 'back.png',
      mime_type: 'image/png',
      status: 'ready',
      size: Buffer.byteLength('nobody’s bytes'),
      sha256: Buffer.alloc(32),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

function rows() {
  return scene.db.selectFrom('quarantined_blobs').selectAll().orderBy('key').execute();
}

async function letPass(days: number): Promise<void> {
  await scene.db
    .updateTable('quarantined_blobs')
    .set({ moved_at: sql<Date>`moved_at - make_interval(days => ${days})` })
    .execute();
}

describe('quarantine', () => {
  it('takes in what has no row, keeps it for the second period, and then lets it go', async () => {
    const key = await scene.blob(scene.strayKey());
    expect(await scene.swept('report')).toMatchObject({ orphans: 1, quarantined: 0 });
    expect(await scene.blobs.stat(key)).toBeDefined();

    const sweep = await scene.swept('delete');
    expect(sweep).toMatchObject({ orphans: 1, quarantined: 1, removed: 0 });
    expect(await scene.findings(sweep, 'orphan')).toMatchObject([{ key, outcome: 'quarantined' }]);
    expect(await scene.blobs.stat(key)).toBeUndefined();
    expect(await scene.keys('.quarantine/')).toEqual([quarantineFolder + key]);
    expect(await rows()).toMatchObject([{ key, project_id: scene.projectId, moved_at: expect.any(Date) }]);

    await letPass(6);
    expect(await scene.swept('delete')).toMatchObject({ orphans: 0, foreign_objects: 0, removed: 0 });
    await letPass(1);
    expect(await scene.swept('report')).toMatchObject({ removed: 0 });
    expect(await scene.swept('delete')).toMatchObject({ removed: 1 });
    expect(await scene.keys('.quarantine/')).toEqual([]);
    expect(await rows()).toEqual([]);
  });

  it('gives back what a row names again, in any mode but the dry run', async () => {
    const key = await scene.blob(scene.strayKey());
    await scene.swept('delete');
    await revive(key);
    await scene.db.updateTable('files').set({ integrity: 'missing' }).where('s3_key', '=', key).execute();
    expect(await scene.swept('dry-run')).toMatchObject({ missing: 1, restored: 0 });
    expect(await scene.swept('report')).toMatchObject({ missing: 0, restored: 1 });
    expect(await scene.blobs.stat(key)).toBeDefined();
    expect(await scene.keys('.quarantine/')).toEqual([]);
    expect(await rows()).toEqual([]);
    const row = await scene.db
      .selectFrom('files')
      .select('integrity')
      .where('s3_key', '=', key)
      .executeTakeFirst();
    expect(row?.integrity).toBe('unchecked');
  });

  it('gives back rather than removes, when the second period is over too', async () => {
    const key = await scene.blob(scene.strayKey());
    await scene.swept('delete');
    await letPass(8);
    await revive(key);
    expect(await scene.swept('delete')).toMatchObject({ restored: 1, removed: 0 });
    expect(await scene.blobs.stat(key)).toBeDefined();
  });

  it.each(['before the copy', 'after the copy', 'during the deletion'])(
    'keeps a blob whose row comes back %s',
    async (moment) => {
      const key = await scene.blob(scene.strayKey());
      const blobs = scene.faulty({
        async copy(from, to, options) {
          if (moment === 'before the copy' && from === key) await revive(key);
          const copied = await scene.blobs.copy(from, to, options);
          if (moment === 'after the copy' && from === key) await revive(key);
          return copied;
        },
        async delete(gone) {
          if (moment === 'during the deletion' && gone === key) await revive(key);
          await scene.blobs.delete(gone);
        },
      });
      const sweep = await scene.swept('delete', { blobs });
      expect(sweep).toMatchObject({ orphans: 1, quarantined: 0, vanished: 1 });
      expect(await scene.blobs.stat(key)).toBeDefined();
      expect(await scene.keys('.quarantine/')).toEqual([]);
      expect(await rows()).toEqual([]);
    },
  );

  it('says what the store does not let go, and tries it again', async () => {
    const [stuck, free] = [await scene.blob(scene.strayKey()), await scene.blob(scene.strayKey())];
    const blobs = scene.faulty({
      delete: async (key) => {
        if (key === stuck) throw new StoreUnavailable('access denied', key);
        await scene.blobs.delete(key);
      },
    });
    const sweep = await scene.swept('delete', { blobs });
    expect(sweep).toMatchObject({ orphans: 2, quarantined: 1, failures: 1 });
    const found = await scene.findings(sweep, 'orphan');
    expect(found.find(({ key }) => key === stuck)).toMatchObject({
      outcome: 'failed',
      detail: 'access denied',
    });
    expect(found.find(({ key }) => key === free)).toMatchObject({ outcome: 'quarantined' });
    expect(await scene.blobs.stat(stuck)).toBeDefined();
    expect(await scene.swept('delete', { graceSeconds: 0 })).toMatchObject({ quarantined: 1, failures: 0 });
    expect(await scene.blobs.stat(stuck)).toBeUndefined();
    expect(await rows()).toHaveLength(2);
  });

  it('keeps what cannot be removed, with the reason, and removes the rest', async () => {
    const keys = [await scene.blob(scene.strayKey()), await scene.blob(scene.strayKey())].sort();
    await scene.swept('delete');
    await letPass(8);
    const blobs = scene.faulty({
      deleteMany: async (asked) => {
        const stuck = quarantineFolder + keys[0]!;
        await scene.blobs.deleteMany(asked.filter((key) => key !== stuck));
        return [{ key: stuck, reason: 'access denied' }];
      },
    });
    expect(await scene.swept('delete', { blobs })).toMatchObject({ removed: 1, failures: 1 });
    expect(await rows()).toMatchObject([{ key: keys[0], last_error: 'access denied' }]);
    expect(await scene.swept('delete')).toMatchObject({ removed: 1 });
  });

  it('knows after a crash in the middle of a move where the blob is', async () => {
    const [copied, moved, lost] = [scene.strayKey(), scene.strayKey(), scene.strayKey()];
    await scene.blob(copied);
    for (const key of [copied, moved]) await scene.blob(quarantineFolder + key);
    for (const key of [copied, moved, lost]) {
      await scene.db.insertInto('quarantined_blobs').values({ key, size: 1 }).execute();
    }
    const sweep = await scene.swept('delete', { quarantineSeconds: 1 });
    expect(sweep).toMatchObject({ orphans: 1, quarantined: 1, removed: 0 });
    expect((await rows()).map(({ key, moved_at }) => [key, moved_at !== null])).toEqual(
      [copied, moved].sort().map((key) => [key, true]),
    );
  });

  it('takes down blobs that lie there and that no row of its own names, and lets them wait', async () => {
    const key = scene.strayKey();
    await scene.blob(quarantineFolder + key, { ageSeconds: 365 * 86_400 });
    await scene.swept('dry-run');
    expect(await rows()).toEqual([]);
    await scene.swept('delete', { quarantineSeconds: 60 });
    expect(await rows()).toMatchObject([{ key, project_id: scene.projectId }]);
    expect(await scene.keys('.quarantine/')).toHaveLength(1);
    await letPass(1);
    expect(await scene.swept('delete', { quarantineSeconds: 60 })).toMatchObject({ removed: 1 });
  });
});

describe('unfinished puts in parts', () => {
  it('are reported, and dropped with their parts; those of living uploads and foreign ones stay', async () => {
    const { multipart } = scene.blobs;
    const upload = await scene.uploading();
    const kept = [await multipart.begin(upload.key), await multipart.begin('somebody/else.bin')];
    const stray = scene.strayKey();
    const dropped = await multipart.begin(stray);
    await multipart.put(stray, dropped, 1, Buffer.from('part'));
    expect(await scene.swept('delete')).toMatchObject({ unfinished_puts: 0 });
    const report = await scene.swept('report', { graceSeconds: 0 });
    expect(await scene.findings(report)).toMatchObject([
      { kind: 'unfinished', key: stray, upload_id: dropped },
    ]);
    expect(await scene.swept('delete', { graceSeconds: 0 })).toMatchObject({
      unfinished_puts: 1,
      dropped_puts: 1,
    });
    const left: string[] = [];
    for await (const { uploadId } of multipart.list('')) left.push(uploadId);
    expect(left.sort()).toEqual(kept.sort());
  });
});

it('a sweep of one project removes nothing of others from quarantine', async () => {
  const key = await scene.blob(scene.strayKey());
  await scene.swept('delete');
  await letPass(8);
  await scene.swept('delete', { projectId: newId() });
  expect(await scene.keys('.quarantine/')).toEqual([quarantineFolder + key]);
});
