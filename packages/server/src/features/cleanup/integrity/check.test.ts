import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createSweepScene, type SceneFile, type SweepScene } from '../../../../test/sweep-scene.js';
import { StoreUnavailable, type BlobStore } from '../../../foundation/blobs/blob-store.js';
import { writeIdentity } from '../../../foundation/blobs/identity.js';
import { newId } from '../../../foundation/ids.js';
import { createMetrics } from '../../../foundation/metrics.js';
import { createApp } from '../../../foundation/http/app.js';
import { createLog } from '../../../foundation/log.js';
import { guardRoutes } from '../../access/guard.js';
import { cleanupGauges } from '../gauges.js';
import { readToday } from './check-queries.js';
import { checkIntegrity, type CheckEnd, type CheckOrder, type Damaged } from './check.js';
import type { Integrity } from './damage-queries.js';
import type { Damage } from './damage.js';
import { allowance, createIntegrityWork } from './job.js';
import { integrityRoutes } from './routes.js';

let scene: SweepScene;
let told: Damage[];
let rendered: string[];
beforeEach(async () => {
  scene = await createSweepScene();
  told = [];
  rendered = [];
});
afterEach(() => scene.close());

const remedies = {
  onDamage: async (_tx: unknown, damage: Damage) => void told.push(damage),
  renderAgain: async (_tx: unknown, { fileId, name }: { fileId: string; name: string }) => {
    rendered.push(`${fileId}/${name}`);
    return true;
  },
};

function check(order: Partial<CheckOrder> = {}, blobs: BlobStore = scene.blobs): Promise<CheckEnd> {
  const { signal } = new AbortController();
  return checkIntegrity({ db: scene.db, blobs, remedies }, { bytes: 1_000_000, signal, ...order });
}

async function integrityOf(
  file: SceneFile,
): Promise<{ integrity: string; version: number; checked: boolean }> {
  const row = await scene.db
    .selectFrom('files')
    .select(['integrity', 'version', 'integrity_checked_at'])
    .where('id', '=', file.id)
    .executeTakeFirstOrThrow();
  const { integrity, version } = row;
  return { integrity, version, checked: row.integrity_checked_at !== null };
}

/** Changes one bit of the blob behind the store's back. */
async function flip({ key, bytes }: SceneFile): Promise<void> {
  const altered = Buffer.from(bytes);
  altered[0] = (altered[0] ?? 0) ^ 1;
  await writeFile(join(scene.folder, key), altered);
}

describe('the integrity check', () => {
  it('reads originals, trash included, and variants, and finds them right', async () => {
    const [file, trashed] = [await scene.file(), await scene.file()];
    await scene.variant(file, 'card');
    await scene.db
      .updateTable('files')
      .set({ deleted_at: new Date() })
      .where('id', '=', trashed.id)
      .execute();
    await scene.uploading();
    const end = await check();
    expect(end).toMatchObject({ blobs: 3, missing: 0, corrupt: 0 });
    expect(end.bytes).toBe(2 * file.bytes.length + 'the bytes of card'.length);
    expect(await integrityOf(file)).toEqual({ integrity: 'ok', version: 2, checked: true });
    // What is shown of the file is the same: so is its version.
    await check();
    expect(await integrityOf(file)).toEqual({ integrity: 'ok', version: 2, checked: true });
  });

  it.each<[string, (file: SceneFile) => Promise<void>, Integrity, string]>([
    ['is gone', (file) => scene.blobs.delete(file.key), 'missing', 'it is not in the store'],
    ['has one bit changed', flip, 'corrupt', 'its SHA-256 is another'],
    [
      'was cut',
      (file) => writeFile(join(scene.folder, file.key), 'short'),
      'corrupt',
      'it has 5 bytes instead of 19',
    ],
  ])('marks an original that %s, and tells of it once', async (_what, harm, kind, why) => {
    const [file, whole] = [await scene.file(), await scene.file()];
    await check();
    await harm(file);
    const found: Damaged[] = [];
    expect(await check({ onDamaged: (damaged) => found.push(damaged) })).toMatchObject({
      blobs: 2,
      [kind]: 1,
    });
    expect(found).toMatchObject([{ blob: { key: file.key }, kind, why, remedy: 'marked' }]);
    expect(await integrityOf(file)).toEqual({ integrity: kind, version: 3, checked: true });
    expect(await integrityOf(whole)).toMatchObject({ integrity: 'ok' });
    await check();
    expect(told).toEqual([{ projectId: scene.projectId, fileId: file.id, kind, key: file.key }]);
    // Brought back from a backup.
    await scene.blobs.put(file.key, file.bytes);
    await check();
    expect(await integrityOf(file)).toMatchObject({ integrity: 'ok' });
  });

  it('has variants rendered again, unless their original is lost too', async () => {
    const [file, lost] = [await scene.file(), await scene.file()];
    const [card, hopeless] = [await scene.variant(file, 'card'), await scene.variant(lost, 'card')];
    await scene.blobs.delete(lost.key);
    await flip(card);
    await scene.blobs.delete(hopeless.key);
    // The originals first.
    await scene.db
      .updateTable('variants')
      .set({ integrity_checked_at: new Date(0) })
      .execute();
    expect(await check()).toMatchObject({ missing: 2, corrupt: 1, mended: 1 });
    expect(rendered).toEqual([`${file.id}/card`]);
    expect(told).toMatchObject([{ fileId: lost.id }]);
    const rows = await scene.db.selectFrom('variants').select('integrity').orderBy('integrity').execute();
    expect(rows.map(({ integrity }) => integrity)).toEqual(['corrupt', 'missing']);
    // What was found out about bytes says nothing about those that take their place.
    await scene.db
      .updateTable('variants')
      .set({ s3_key: `${scene.projectId}/card/x.webp` })
      .where('file_id', '=', file.id)
      .execute();
    const after = await scene.db
      .selectFrom('variants')
      .selectAll()
      .where('file_id', '=', file.id)
      .executeTakeFirst();
    expect(after).toMatchObject({ integrity: 'unchecked', integrity_checked_at: null });
  });

  it('believes damage only when it reads it twice', async () => {
    const file = await scene.file();
    let reads = 0;
    const blobs = scene.faulty({
      get: async (key, options) => {
        if (key !== file.key || ++reads > 1) return scene.blobs.get(key, options);
        await flip(file);
        const blob = await scene.blobs.get(key, options);
        await writeFile(join(scene.folder, key), file.bytes);
        return blob;
      },
    });
    expect(await check({}, blobs)).toMatchObject({ corrupt: 0 });
    expect(reads).toBe(2);
    expect(await integrityOf(file)).toMatchObject({ integrity: 'ok' });
  });

  it('takes no answer for no damage', async () => {
    const file = await scene.file();
    const blobs = scene.faulty({
      get: (key, options) =>
        key === file.key ? Promise.reject(new StoreUnavailable('away', key)) : scene.blobs.get(key, options),
    });
    await expect(check({}, blobs)).rejects.toThrow('away');
    expect(await integrityOf(file)).toMatchObject({ integrity: 'unchecked', checked: false });
  });

  it('marks nothing when the row goes, or names other bytes, while it reads', async () => {
    const [gone, replaced] = [await scene.file(), await scene.file()];
    const blobs = scene.faulty({
      get: async (key, options) => {
        const blob = await scene.blobs.get(key, options);
        if (key === gone.key || key === replaced.key) await scene.blobs.delete(key);
        if (key === gone.key) await scene.db.deleteFrom('files').where('id', '=', gone.id).execute();
        if (key === replaced.key) {
          const s3Key = key.replace('.png', '.2.png');
          await scene.blobs.put(s3Key, replaced.bytes);
          await scene.db.updateTable('files').set({ s3_key: s3Key }).where('id', '=', replaced.id).execute();
        }
        return blob;
      },
    });
    expect(await check({}, blobs)).toMatchObject({ missing: 0, corrupt: 0 });
    expect(told).toEqual([]);
  });

  it('judges nothing in another’s store', async () => {
    const file = await scene.file();
    await writeIdentity(scene.blobs, newId());
    expect(await check()).toMatchObject({
      blobs: 0,
      refusal: expect.stringContaining('another installation'),
    });
    expect(await integrityOf(file)).toMatchObject({ integrity: 'unchecked' });
  });
});

describe('its budget', () => {
  it('ends a run behind the blob that reaches it; those that were read longest ago come first', async () => {
    const files = [await scene.file(), await scene.file(), await scene.file(), await scene.file()];
    const bytes = files[0]!.bytes.length;
    expect(await check({ bytes: bytes + 1 })).toMatchObject({ blobs: 2 });
    const checked = async () =>
      (await Promise.all(files.map(integrityOf))).map(({ integrity }) => integrity === 'ok');
    expect(await checked()).toEqual([true, true, false, false]);
    expect(await check({ bytes: 2 * bytes })).toMatchObject({ blobs: 2 });
    expect(await checked()).toEqual([true, true, true, true]);
    expect((await readToday(scene.db)).bytes).toBe(4 * bytes);
  });

  it('is spread over the hours of the day, and what was read counts', async () => {
    await scene.file();
    const before = await allowance({ db: scene.db, bytesPerDay: 2_400 });
    const { dayOver } = await readToday(scene.db);
    // Between the two looks an hour may have begun.
    expect([100, 200]).toContain((Math.floor(dayOver * 24) + 2) * 100 - before);
    await scene.db
      .insertInto('integrity_days')
      .values({ day: sql<Date>`(now() AT TIME ZONE 'UTC')::date`, bytes: 2_400 })
      .execute();
    expect(await allowance({ db: scene.db, bytesPerDay: 2_400 })).toBeLessThanOrEqual(0);
  });

  it('of 0 takes the check off the timetable', () => {
    const work = (bytesPerDay: number) =>
      createIntegrityWork({
        db: scene.db,
        blobs: scene.blobs,
        remedies,
        metrics: createMetrics(),
        bytesPerDay,
      });
    expect(work(0).timetable).toEqual([]);
    expect(work(1).timetable).toMatchObject([{ name: 'check-integrity', cron: '41 * * * *' }]);
  });
});

describe('GET /files/:id/integrity', () => {
  it('says what is known of a file’s bytes and those of its variants', async () => {
    const file = await scene.file();
    await scene.variant(file, 'card');
    const app = createApp({ log: await createLog({ level: 'silent', pretty: false }), trustedProxies: [] });
    guardRoutes(app, {
      db: scene.db,
      identify: [
        async ({ headers }) =>
          headers['x-nobody'] === undefined
            ? { kind: 'user', userId: scene.userId, sessionId: newId(), role: 'user' }
            : undefined,
      ],
    });
    integrityRoutes({ db: scene.db })(app);
    const url = `/files/${file.id}/integrity`;
    const before = await app.inject({ url });
    expect(before.json()).toMatchObject({ integrity: 'unchecked', checkedAt: null, size: file.bytes.length });
    await check();
    await flip(file);
    await check();
    const after = await app.inject({ url });
    expect(after.statusCode).toBe(200);
    expect(after.json()).toEqual({
      integrity: 'corrupt',
      checkedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      size: file.bytes.length,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      variants: {
        card: {
          status: 'ready',
          integrity: 'ok',
          checkedAt: expect.any(String),
          size: 17,
          sha256: expect.any(String),
        },
      },
    });
    expect(after.body).not.toContain(file.key);
    expect((await app.inject({ url, headers: { 'x-nobody': '1' } })).statusCode).toBe(401);
    expect((await app.inject({ url: `/files/${newId()}/integrity` })).statusCode).toBe(404);
    await app.close();
  });
});

it('gauges tell of the installation, and of nothing while the database is away', async () => {
  const metrics = createMetrics();
  cleanupGauges(scene.db, metrics);
  const [file] = [await scene.file()];
  await scene.blob(scene.strayKey());
  await scene.swept('report');
  await scene.blobs.delete(file.key);
  await check();
  const text = await metrics.registry.metrics();
  expect(text).toContain('mediablobkit_sweep_findings 1\n');
  expect(text).toContain('mediablobkit_quarantined_blobs 0\n');
  expect(text).toContain('mediablobkit_damaged_originals{kind="missing"} 1\n');
  expect(text).toContain('mediablobkit_damaged_originals{kind="corrupt"} 0\n');
  expect(text).toMatch(/mediablobkit_sweep_finished_seconds 1\d{9}/);
});
