import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import type { BlobStore } from '../../src/foundation/blobs/blob-store.js';
import { quarantineFolder } from '../../src/foundation/blobs/keys.js';
import { openBlobStore } from '../../src/foundation/blobs/open.js';
import { s3Access, s3Url } from '../s3-access.js';
import { createSweepScene, type SweepScene } from '../sweep-scene.js';
import { sweepTraffic } from '../sweep-traffic.suite.js';

for (const name of ['rgw', 'swift'] as const) {
  describe(`the sweep on ${name}`, () => {
    const url = s3Url(name);
    if (url === undefined) it.skip(`needs TEST_S3_${name.toUpperCase()}`, () => undefined);
    else {
      describe('alone', () => onServer(url));
      describe('beside everything else', () => sweepTraffic(10, () => openEmpty(url)));
    }
  });
}

function onServer(url: URL): void {
  let store: BlobStore;
  let scene: SweepScene;
  beforeAll(async () => {
    store = await openEmpty(url);
  });
  afterAll(() => store.close());
  beforeEach(async () => {
    await empty(store);
    scene = await createSweepScene({ backing: store });
    return () => scene.close();
  });
  // The server's clock may be a second ahead of the database's.
  const now = { graceSeconds: -5, brakePercent: 100, quarantineSeconds: 0 };

  it('finds what is wrong among more than a page of objects, and puts it right', async () => {
    const files = [];
    for (let n = 0; n < 5; n += 1) files.push(await scene.file());
    const lost = files[0]!;
    await store.delete(lost.key);
    const variant = await scene.variant(files[1]!, 'card');
    await store.delete(variant.key);
    const strays = Array.from({ length: 1_100 }, () => scene.strayKey()).sort();
    for (let at = 0; at < strays.length; at += 50) {
      await Promise.all(strays.slice(at, at + 50).map((key) => store.put(key, Buffer.from('x'))));
    }
    await store.put('somebody’s/notes & more.txt', Buffer.from('x'));
    const stray = scene.strayKey();
    const put = await store.multipart.begin(stray);

    expect(await scene.swept('dry-run', { ...now, graceSeconds: 86_400 })).toMatchObject({ orphans: 0 });
    const sweep = await scene.swept('delete', { ...now, quarantineSeconds: 3600, maxDeletes: 2_000 });
    expect(sweep).toMatchObject({
      orphans: 1_100,
      quarantined: 1_100,
      missing: 2,
      mended: 1,
      foreign_objects: 1,
      unfinished_puts: 1,
      dropped_puts: 1,
      failures: 0,
    });
    expect(scene.damages).toMatchObject([{ fileId: lost.id, kind: 'missing' }]);
    expect(await scene.keys(quarantineFolder)).toEqual(strays.map((key) => quarantineFolder + key));
    for await (const { uploadId } of store.multipart.list('')) expect(uploadId).not.toBe(put);

    expect(await scene.swept('delete', { ...now, maxDeletes: 2_000 })).toMatchObject({
      orphans: 0,
      removed: 1_100,
      failures: 0,
    });
    expect(await scene.keys(quarantineFolder)).toEqual([]);
    expect(await scene.keys()).toContain('somebody’s/notes & more.txt');
  });
}

async function openEmpty(url: URL): Promise<BlobStore> {
  const store = await openBlobStore(s3Access(url, 'mediablobkit-sweep'));
  await empty(store);
  return store;
}

async function empty(store: BlobStore): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list({ prefix: '' })) keys.push(key);
  await store.deleteMany(keys);
  await store.removeStaleTemporaries(-60_000);
}
