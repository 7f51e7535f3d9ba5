import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createSweepScene, type SweepScene } from '../../../../test/sweep-scene.js';
import type { BlobStat, BlobStore } from '../../../foundation/blobs/blob-store.js';
import { stagingKey, variantKey } from '../../../foundation/blobs/keys.js';
import { newId } from '../../../foundation/ids.js';
import { bury } from '../../files/queries.js';
import { inTransaction } from '../../projects/queries.js';

let scene: SweepScene;
beforeEach(async () => {
  scene = await createSweepScene();
});
afterEach(() => scene.close());

describe('a sweep that only looks', () => {
  it('finds nothing where rows and store agree', async () => {
    const file = await scene.file();
    await scene.variant(file, 'card');
    const sweep = await scene.swept('dry-run', { graceSeconds: 0 });
    expect(sweep).toMatchObject({ blobs_seen: 2, rows_seen: 2, orphans: 0, missing: 0, foreign_objects: 0 });
    expect(await scene.findings(sweep)).toEqual([]);
  });

  it('reports a blob without a row once it is older than the grace period, and changes nothing', async () => {
    await scene.file();
    const old = await scene.blob(scene.strayKey());
    await scene.blob(scene.strayKey(), { ageSeconds: 3600 });
    const staged = await scene.blob(stagingKey(newId()));
    const unknown = await scene.blob(scene.strayKey(newId()));
    const before = await scene.keys();
    const sweep = await scene.swept('dry-run');
    expect(sweep).toMatchObject({ orphans: 3, orphan_bytes: 3 * Buffer.byteLength('nobody’s bytes') });
    const found = await scene.findings(sweep, 'orphan');
    expect(new Map(found.map(({ key, why }) => [key, why]))).toEqual(
      new Map([
        [staged, 'no upload names it'],
        [old, 'no row names it'],
        [unknown, 'no row names it, and there is no such project'],
      ]),
    );
    expect(await scene.keys()).toEqual(before);
  });

  it('adds the backup window to the grace period', async () => {
    await scene.file();
    await scene.blob(scene.strayKey());
    expect(await scene.swept('dry-run', { graceSeconds: 5 * 86_400 })).toMatchObject({ orphans: 0 });
  });

  it('never takes a key that anything names for an orphan, however old the blob is', async () => {
    const file = await scene.file();
    const upload = await scene.uploading();
    const pending = variantKey(scene.projectId, 'card', file.id, 'webp', 2);
    await scene.variant(file, 'card');
    await scene.db.updateTable('variants').set({ pending_key: pending }).execute();
    const buried = scene.strayKey();
    await inTransaction(scene.db, (tx) =>
      bury(tx, [{ key: buried, projectId: scene.projectId, reason: 'test' }]),
    );
    const aborted = await scene.uploading();
    await scene.db.updateTable('files').set({ status: 'aborted' }).where('id', '=', aborted.id).execute();
    const trashed = await scene.file();
    await scene.db
      .updateTable('files')
      .set({ deleted_at: new Date() })
      .where('id', '=', trashed.id)
      .execute();
    for (const key of [upload.key, pending, buried, aborted.key]) await scene.blob(key);
    await scene.blob(trashed.key, { bytes: trashed.bytes });
    const sweep = await scene.swept('delete', { graceSeconds: 0 });
    expect(sweep).toMatchObject({ orphans: 0, missing: 0, quarantined: 0 });
  });

  it('keeps uploads of several requests, their tails and what they write, for longer than the grace period', async () => {
    const id = newId();
    const keys = [stagingKey(id), stagingKey(id, 1), stagingKey(id, 2)];
    await scene.db
      .insertInto('uploads')
      .values({
        id,
        project_id: scene.projectId,
        protocol: 'tus',
        filename: 'slow.bin',
        staging_key: keys[0]!,
        tail_key: keys[1]!,
        next_tail_key: keys[2]!,
        file_id: newId(),
      })
      .execute();
    for (const key of keys) await scene.blob(key, { ageSeconds: 30 * 86_400 });
    await scene.file();
    const put = await scene.blobs.multipart.begin(keys[0]!);
    await scene.db.updateTable('uploads').set({ multipart_id: put }).execute();
    expect(await scene.swept('delete', { graceSeconds: 0 })).toMatchObject({
      orphans: 0,
      unfinished_puts: 0,
    });
    await scene.db.updateTable('uploads').set({ status: 'failed', multipart_id: null }).execute();
    const sweep = await scene.swept('dry-run', { graceSeconds: 0 });
    expect(sweep).toMatchObject({ orphans: 3, unfinished_puts: 1 });
  });

  it('tells keys apart that are prefixes of each other', async () => {
    const file = await scene.file();
    const held = [file.key];
    // A folder sorts as `name/`: behind `name-…` and `name.…`.
    for (const name of ['card', 'card-2', 'card.webp', 'cards'])
      held.push((await scene.variant(file, name)).key);
    const base = file.key.slice(0, -'.png'.length);
    const strays = [`${base}.pn`, `${base}.pngx`, `${base}.2.png`];
    strays.push(variantKey(scene.projectId, 'car', file.id, 'webp'));
    strays.push(variantKey(scene.projectId, 'card', file.id, 'web'));
    for (const key of strays) await scene.blob(key);
    const sweep = await scene.swept('delete', { brakePercent: 100 });
    expect((await scene.findings(sweep, 'orphan')).map(({ key }) => key).sort()).toEqual(strays.sort());
    expect(await scene.keys(`${scene.projectId}/`)).toEqual(held.sort());
  });

  it('reports foreign objects apart and never touches them', async () => {
    await scene.file();
    const keys = [
      'readme.txt',
      `${scene.projectId}/files/notes.txt`,
      `${scene.projectId}-old/files/${newId()}.png`,
      `${scene.projectId}/files/${newId()}.PNG`,
      `${scene.projectId}/files/deeper/${newId()}.png`,
      `${scene.projectId}/Card/${newId()}.png`,
      `${scene.projectId}/card/${newId()}.1.png`,
      '.staging/somebody',
      '.quarantine/somebody.txt',
      `.mediablobkit-old/${newId()}`,
    ];
    for (const key of keys) await scene.blob(key, { ageSeconds: 365 * 86_400 });
    await scene.blob('.mediablobkit/probes/x');
    const sweep = await scene.swept('delete', { quarantineSeconds: 0 });
    expect(sweep).toMatchObject({ orphans: 0, foreign_objects: keys.length });
    expect((await scene.findings(sweep, 'foreign')).map(({ key }) => key).sort()).toEqual(keys.sort());
    expect(await scene.keys()).toEqual(expect.arrayContaining(keys));
  });

  it('sweeps one project with the slash behind its id, and nothing beside it', async () => {
    const other = await scene.project();
    await scene.file();
    await scene.file({ projectId: other });
    const own = await scene.blob(scene.strayKey());
    const theirs = await scene.blob(scene.strayKey(other));
    const beside = await scene.blob(`${scene.projectId}0/files/${newId()}.png`);
    const sweep = await scene.swept('delete', { projectId: scene.projectId });
    expect(sweep).toMatchObject({
      blobs_seen: 2,
      rows_seen: 1,
      orphans: 1,
      foreign_objects: 0,
      quarantined: 1,
    });
    const keys = await scene.keys();
    expect(keys).toContain(theirs);
    expect(keys).toContain(beside);
    expect(keys).not.toContain(own);
  });
});

describe('rows without a blob', () => {
  it('are reported and left alone by a dry run', async () => {
    const file = await scene.file();
    await scene.blobs.delete(file.key);
    const sweep = await scene.swept('dry-run');
    expect(sweep.missing).toBe(1);
    expect(await scene.findings(sweep)).toMatchObject([{ kind: 'missing', key: file.key, file_id: file.id }]);
    expect(scene.damages).toEqual([]);
  });

  it('are marked when they are originals, told of once, and rendered again when they are variants', async () => {
    const [lost, whole] = [await scene.file(), await scene.file()];
    const hopeless = await scene.variant(lost, 'card');
    const variant = await scene.variant(whole, 'card');
    for (const { key } of [lost, hopeless, variant]) await scene.blobs.delete(key);
    const sweep = await scene.swept('report');
    expect(sweep).toMatchObject({ missing: 3, mended: 1 });
    expect(scene.damages).toEqual([
      { projectId: scene.projectId, fileId: lost.id, kind: 'missing', key: lost.key },
    ]);
    // A variant is not rendered from an original that is lost too.
    expect(scene.rendered).toEqual([`${whole.id}/card`]);
    const row = await scene.db.selectFrom('files').selectAll().where('id', '=', lost.id).executeTakeFirst();
    expect(row).toMatchObject({ integrity: 'missing', version: 2 });
    expect(row?.integrity_checked_at).not.toBeNull();
    await scene.swept('report');
    expect(scene.damages).toHaveLength(1);
  });

  it('are none when the blob came after the listing had passed, or the row went', async () => {
    const [late, gone] = [await scene.file(), await scene.file()];
    const blobs = scene.faulty({
      async *list(options) {
        for await (const blob of scene.blobs.list(options)) {
          if (blob.key !== late.key && blob.key !== gone.key) yield blob;
        }
      },
      async stat(key) {
        if (key !== gone.key) return scene.blobs.stat(key);
        await scene.db.deleteFrom('files').where('id', '=', gone.id).execute();
        return undefined;
      },
    });
    expect(await scene.swept('report', { blobs })).toMatchObject({ missing: 0 });
  });
});

describe('the listing', () => {
  const listing = (keys: readonly string[]): BlobStore =>
    scene.faulty({
      async *list() {
        for (const key of keys) yield statOf(key);
      },
    });

  it('that steps backwards ends the sweep before anything is done', async () => {
    await scene.file();
    const keys = [await scene.blob(scene.strayKey()), await scene.blob(scene.strayKey())].sort();
    const end = await scene.sweep('delete', { blobs: listing(keys.reverse()) });
    expect(end).toMatchObject({ kind: 'refused', why: expect.stringContaining('behind') });
    expect(await scene.keys(`${scene.projectId}/`)).toEqual(expect.arrayContaining(keys));
    expect(await scene.keys('.quarantine/')).toEqual([]);
    // Nor does it stand in the way of the next.
    expect(await scene.swept('report')).toMatchObject({ orphans: 2 });
  });

  it('that names a key twice does so too', async () => {
    const key = await scene.blob(scene.strayKey());
    expect(await scene.sweep('dry-run', { blobs: listing([key, key]) })).toMatchObject({ kind: 'refused' });
  });

  it('of more than a thousand objects is gone through in batches', { timeout: 60_000 }, async () => {
    for (let n = 0; n < 1_100; n += 1) await scene.blobs.put(scene.strayKey(), Buffer.from('x'));
    await scene.file();
    const sweep = await scene.swept('delete', {
      graceSeconds: 0,
      batchKeys: 64,
      brakePercent: 100,
      maxDeletes: 1_050,
    });
    expect(sweep).toMatchObject({ blobs_seen: 1_101, orphans: 1_100, quarantined: 1_050 });
    expect(await scene.swept('delete', { graceSeconds: 0, brakePercent: 100 })).toMatchObject({
      orphans: 50,
      quarantined: 50,
    });
    expect(await scene.keys('.quarantine/')).toHaveLength(1_100);
  });
});

function statOf(key: string): BlobStat {
  return { key, size: Buffer.byteLength('nobody’s bytes'), lastModified: new Date(0) };
}
