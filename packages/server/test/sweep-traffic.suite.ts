import { createHash, randomInt } from 'node:crypto';
import { text } from 'node:stream/consumers';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { bury } from '../src/features/files/queries.js';
import { inTransaction } from '../src/features/projects/queries.js';
import type { BlobStore } from '../src/foundation/blobs/blob-store.js';
import { quarantineFolder, variantKey } from '../src/foundation/blobs/keys.js';
import { createSweepScene, type SceneFile, type SweepScene } from './sweep-scene.js';
import { multipartBody } from './upload-kit.js';

/** Orphans planted for each sweep, at most. */
const mostPlanted = 20;

/**
 * Sweeps with deletion and without a grace period while files are uploaded in one request and in several, variants made
 * and replaced, files removed, and buried keys purged. No living blob may be touched, no living row be taken for one
 * without a blob, and every planted orphan must go.
 */
export function sweepTraffic(
  rounds: number,
  open: () => Promise<BlobStore | undefined> = () => Promise.resolve(undefined),
): void {
  let scene: SweepScene;
  let backing: BlobStore | undefined;
  const planted: string[] = [];
  const failures: unknown[] = [];

  beforeAll(async () => {
    backing = await open();
    scene = await createSweepScene({ poolSize: 20, ...(backing ? { backing } : {}) });
    await scene.file();
  });
  afterAll(async () => {
    await scene.close();
    await backing?.close();
  });

  it(`${rounds} sweeps during traffic touch no living blob`, { timeout: 600_000 }, async () => {
    let stopped = false;
    const forever = async (act: () => Promise<void>): Promise<void> => {
      while (!stopped) await act();
    };
    const actors = [upload, upload, uploadInParts, makeVariant, replaceVariant, removeFile, purge, plant];
    const traffic = Promise.all(
      actors.map((act) =>
        forever(() => act(scene)).catch((error: unknown) => {
          failures.push(error);
        }),
      ),
    );
    let quarantined = 0;
    for (let round = 0; round < rounds; round += 1) {
      const sweep = await scene.swept('delete', {
        graceSeconds: 0,
        brakePercent: 100,
        batchKeys: randomInt(1, 200),
        maxDeletes: 100_000,
      });
      expect(sweep).toMatchObject({ missing: 0, failures: 0, restored: 0, foreign_objects: 0 });
      quarantined += sweep.quarantined;
    }
    stopped = true;
    await traffic;
    expect(failures).toEqual([]);
    expect(scene.damages).toEqual([]);

    await scene.cleanup('purge-blobs');
    // Nothing is written any more, so a grace below zero endangers nothing. A server may tell the time of a write in
    // whole seconds rounded up, and what was planted last then seems younger than now.
    const all = { graceSeconds: -5, brakePercent: 100, maxDeletes: 100_000 };
    quarantined += (await scene.swept('delete', all)).quarantined;
    expect(quarantined).toBe(planted.length);
    expect(await scene.keys(quarantineFolder)).toEqual(planted.map((key) => quarantineFolder + key).sort());
    await everyRowHasItsBytes(scene);
  });

  async function plant({ blobs, strayKey }: SweepScene): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (planted.length >= rounds * mostPlanted) return;
    const key = strayKey();
    await blobs.put(key, Buffer.from('nobody’s bytes'));
    planted.push(key);
  }
}

async function upload({ send, projectId }: SweepScene): Promise<void> {
  const content = 'x'.repeat(randomInt(1, 5_000));
  const answer = await send(projectId, multipartBody([{ filename: 'a.txt', content }]));
  expect(answer.status).toBe(201);
  await answer.arrayBuffer();
}

/** Resumable: its bytes lie in tails and in the file's own key while no file has a row. */
async function uploadInParts({ url, projectId }: SweepScene): Promise<void> {
  const headers = { 'tus-resumable': '1.0.0' };
  const begun = await fetch(`${url}/projects/${projectId}/tus`, {
    method: 'POST',
    headers: { ...headers, 'upload-length': '3000' },
  });
  expect(begun.status).toBe(201);
  const { pathname } = new URL(begun.headers.get('location') ?? '');
  for (let offset = 0; offset < 3_000; offset += 1_000) {
    const answer = await fetch(url + pathname, {
      method: 'PATCH',
      headers: {
        ...headers,
        'content-type': 'application/offset+octet-stream',
        'upload-offset': String(offset),
      },
      body: 'y'.repeat(1_000),
    });
    expect(answer.status).toBe(204);
  }
}

async function makeVariant(scene: SweepScene): Promise<void> {
  const file = await anyFile(scene);
  if (file) await renderTo(scene, file, 'card');
}

async function replaceVariant(scene: SweepScene): Promise<void> {
  const row = await scene.db
    .selectFrom('variants')
    .select(['file_id as id', 'name'])
    .where('pending_key', 'is', null)
    .limit(1)
    .offset(randomInt(3))
    .executeTakeFirst();
  if (row) await renderTo(scene, row, row.name);
}

/** As a renderer does it: the key first, then the blob, then both in one transaction. */
async function renderTo(
  { db, blobs, projectId }: SweepScene,
  { id }: Pick<SceneFile, 'id'>,
  name: string,
): Promise<void> {
  const bytes = Buffer.from(`bytes ${randomInt(1_000_000)}`);
  const claimed = await inTransaction(db, async (tx) => {
    const file = await tx
      .selectFrom('files')
      .select('id')
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst();
    if (!file) return undefined;
    const row = await tx
      .selectFrom('variants')
      .selectAll()
      .where('file_id', '=', id)
      .where('name', '=', name)
      .forUpdate()
      .executeTakeFirst();
    if (row?.pending_key) return undefined;
    const generation = (row?.generation ?? 0) + 1;
    const key = variantKey(projectId, name, id, 'webp', generation);
    await tx
      .insertInto('variants')
      .values({
        file_id: id,
        project_id: projectId,
        name,
        status: 'rendering',
        recipe: '{}',
        recipe_digest: 'x',
        generation,
        pending_key: key,
      })
      .onConflict((conflict) =>
        conflict.columns(['file_id', 'name']).doUpdateSet({ generation, pending_key: key }),
      )
      .execute();
    return { key, former: row?.s3_key ?? undefined };
  });
  if (!claimed) return;
  const { key, former } = claimed;
  await blobs.put(key, bytes);
  await inTransaction(db, async (tx) => {
    await tx.selectFrom('files').select('id').where('id', '=', id).forUpdate().execute();
    const updated = await tx
      .updateTable('variants')
      .set({
        status: 'ready',
        s3_key: key,
        pending_key: null,
        mime_type: 'image/webp',
        size: bytes.length,
        sha256: createHash('sha256').update(bytes).digest(),
      })
      .where('file_id', '=', id)
      .where('pending_key', '=', key)
      .executeTakeFirst();
    const worthless = updated.numUpdatedRows === 0n ? key : former;
    if (worthless !== undefined) await bury(tx, [{ key: worthless, projectId, reason: 'variant replaced' }]);
  });
}

/** As a purge does it: rows and burials in one transaction. */
async function removeFile(scene: SweepScene): Promise<void> {
  const { db, projectId } = scene;
  const file = await anyFile(scene);
  if (!file) return;
  await inTransaction(db, async (tx) => {
    const row = await tx
      .selectFrom('files')
      .select('s3_key')
      .where('id', '=', file.id)
      .forUpdate()
      .executeTakeFirst();
    if (!row) return;
    const variants = await tx
      .deleteFrom('variants')
      .where('file_id', '=', file.id)
      .returning(['s3_key', 'pending_key'])
      .execute();
    await tx.deleteFrom('files').where('id', '=', file.id).execute();
    const grave = { projectId, reason: 'file purged' };
    const named = (key: string | null) => (key === null ? [] : [key]);
    await bury(tx, [
      ...[row.s3_key, ...variants.flatMap(({ s3_key: key }) => named(key))].map((key) => ({ key, ...grave })),
      // Its writer may be late: the key stays buried for as long as that takes.
      ...variants
        .flatMap(({ pending_key: key }) => named(key))
        .map((key) => ({ key, ...grave, againAfter: 900 })),
    ]);
  });
}

async function purge({ cleanup }: SweepScene): Promise<void> {
  await cleanup('purge-blobs');
}

async function anyFile({ db }: SweepScene): Promise<Pick<SceneFile, 'id'> | undefined> {
  return db
    .selectFrom('files')
    .select('id')
    .where('status', 'in', ['ready', 'processing'])
    .orderBy('id', 'desc')
    .limit(1)
    .offset(randomInt(1, 10))
    .executeTakeFirst();
}

async function everyRowHasItsBytes({ db, blobs }: SweepScene): Promise<void> {
  const rows = [
    ...(await db.selectFrom('files').select(['s3_key', 'sha256']).execute()),
    ...(await db.selectFrom('variants').select(['s3_key', 'sha256']).execute()),
  ];
  for (const { s3_key: key, sha256 } of rows) {
    if (key === null || sha256 === null) continue;
    const { body } = await blobs.get(key);
    expect([
      key,
      createHash('sha256')
        .update(await text(body))
        .digest(),
    ]).toEqual([key, sha256]);
  }
}
