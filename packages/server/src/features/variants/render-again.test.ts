import { afterAll, beforeAll, expect, it } from 'vitest';

import {
  derivable,
  openScene,
  openVariants,
  workOff,
  type Scene,
  type SceneFile,
  type SceneProject,
} from '../../../test/content-scene.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { photo } from '../../../test/fixtures/pictures.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { planVariants } from './plan.js';
import { renderAgain } from './render-again.js';
import type { VariantRequests, VariantsWork } from './variants.js';

let scene: Scene;
let imaging: Imaging;
let room: VariantRequests & VariantsWork;
let project: SceneProject;
let file: SceneFile;

beforeAll(async () => {
  scene = await openScene();
  imaging = createImaging({
    log: scene.log,
    size: 1,
    memoryLimitBytes: 1024 ** 3,
    wallClockMs: 30_000,
    childEntry: await decoderEntry(),
  });
  room = openVariants(scene, { imaging });
  project = await scene.project({ variants: { thumb: { width: 20 }, wide: { width: 40 } } });
  file = await scene.file(project, {
    bytes: await photo({ width: 80, height: 60 }),
    mimeType: 'image/jpeg',
    extension: 'jpg',
    status: 'processing',
  });
  await scene.db.transaction().execute((tx) => planVariants(tx, derivable(file), project.settings));
  await workOff(scene, room, project);
});
afterAll(async () => {
  await imaging.close();
  await scene.close();
});

async function variant(name: string) {
  return scene.db
    .selectFrom('variants')
    .selectAll()
    .where('file_id', '=', file.id)
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
}

function again(name: string): Promise<boolean> {
  return scene.db
    .transaction()
    .execute((tx) => renderAgain(tx, { projectId: project.id, fileId: file.id, name }));
}

it('makes lost bytes anew under a new key, and leaves the others alone', async () => {
  const [lost, other] = [await variant('thumb'), await variant('wide')];
  await scene.blobs.delete(lost.s3_key ?? '');
  expect(await again('thumb')).toBe(true);
  // What is asked for twice is made once.
  expect(await again('thumb')).toBe(true);
  expect(await variant('thumb')).toMatchObject({ status: 'ready', s3_key: lost.s3_key });
  expect(await workOff(scene, room, project)).toBe(1);
  const made = await variant('thumb');
  expect(made).toMatchObject({
    status: 'ready',
    recipe_digest: lost.recipe_digest,
    integrity: 'unchecked',
    sha256: lost.sha256,
  });
  expect(made.s3_key).not.toBe(lost.s3_key);
  expect(await scene.blobs.stat(made.s3_key ?? '')).toBeDefined();
  expect(await variant('wide')).toMatchObject({ s3_key: other.s3_key, generation: other.generation });
});

it('makes what the settings want now, and what they name no more as it was', async () => {
  project = await scene.changeSettings(project, { variants: { thumb: { width: 10 } } });
  const before = await variant('wide');
  expect([await again('thumb'), await again('wide')]).toEqual([true, true]);
  await workOff(scene, room, project);
  expect(await variant('thumb')).toMatchObject({ status: 'ready', width: 10 });
  const after = await variant('wide');
  expect(after).toMatchObject({ status: 'ready', width: 40, recipe_digest: before.recipe_digest });
  expect(after.s3_key).not.toBe(before.s3_key);
});

it('can do nothing without a row, or for a file in the trash', async () => {
  expect(await again('unknown')).toBe(false);
  await scene.db.updateTable('files').set({ deleted_at: new Date() }).where('id', '=', file.id).execute();
  expect(await again('thumb')).toBe(false);
});
