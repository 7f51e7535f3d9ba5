import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { openScene, openVariants, type Scene, type SceneProject } from '../../../test/content-scene.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { photo } from '../../../test/fixtures/pictures.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { createRunner, type Runner } from '../../foundation/queue/runner.js';
import { planVariants } from './plan.js';
import { plannedVariants } from './wanted.js';
import type { VariantRequests, VariantsWork } from './variants.js';

let scene: Scene;
let engine: Imaging;
let room: VariantRequests & VariantsWork;
let workers: readonly Runner[];
let renders = 0;

/** Two workers on one database, as two processes would be. */
beforeAll(async () => {
  scene = await openScene();
  engine = createImaging({
    log: scene.log,
    size: 1,
    memoryLimitBytes: 1024 ** 3,
    wallClockMs: 30_000,
    childEntry: await decoderEntry(),
  });
  const imaging: Imaging = {
    ...engine,
    render: (request) => {
      renders += 1;
      return engine.render(request);
    },
  };
  const { db, log } = scene;
  room = openVariants(scene, { imaging });
  workers = ['first', 'second'].map((name) =>
    createRunner({
      db,
      handlers: room.handlers,
      concurrency: 2,
      name,
      log,
      pollMs: 20,
      backoff: { firstSeconds: 0.01, factor: 1, longestSeconds: 0.01 },
    }),
  );
  for (const worker of workers) worker.start();
});
afterAll(async () => {
  room.waits.close();
  await Promise.all(workers.map((worker) => worker.stop()));
  await engine.close();
  await scene.close();
});

const never = () => new AbortController().signal;

async function upload(project: SceneProject, bytes: Buffer): Promise<string> {
  const file = await scene.file(project, {
    bytes,
    mimeType: 'image/jpeg',
    extension: 'jpg',
    status: 'processing',
  });
  await scene.db.transaction().execute(async (tx) => {
    const row = { id: file.id, project_id: project.id, mime_type: 'image/jpeg' };
    const status = await planVariants(tx, row, project.settings);
    await tx.updateTable('files').set({ status }).where('id', '=', file.id).execute();
  });
  return file.id;
}

describe('workers on one queue', () => {
  it('make each picture once, and a broken one among them fails alone', async () => {
    const project = await scene.project({ variants: { thumb: { width: 20 }, wide: { width: 30 } } });
    const picture = await photo({ width: 80, height: 60 });
    const before = renders;
    const good = await Promise.all(Array.from({ length: 10 }, () => upload(project, picture)));
    const broken = await upload(project, picture.subarray(0, 400));
    const settled = await Promise.all(
      [...good, broken].flatMap((id) =>
        ['thumb', 'wide'].map((name) => room.waits.settled(id, name, 12_000, never())),
      ),
    );
    expect(settled.every(Boolean)).toBe(true);
    expect(renders - before).toBe(11);
    const files = await scene.db
      .selectFrom('files')
      .select(['id', 'status'])
      .where('project_id', '=', project.id)
      .execute();
    expect(
      files
        .filter(({ status }) => status === 'ready')
        .map(({ id }) => id)
        .sort(),
    ).toEqual(good.sort());
    expect(files.filter(({ status }) => status === 'failed').map(({ id }) => id)).toEqual([broken]);
    const rows = await scene.db
      .selectFrom('variants')
      .select((eb) => eb.fn.sum<string>('size').as('bytes'))
      .where('project_id', '=', project.id)
      .executeTakeFirstOrThrow();
    const usage = await scene.db
      .selectFrom('project_usage')
      .select('variant_bytes')
      .where('project_id', '=', project.id)
      .executeTakeFirstOrThrow();
    expect(usage.variant_bytes).toBe(Number(rows.bytes));
  });

  it('make a lazy variant once, however many ask for it at once', async () => {
    const project = await scene.project({ variants: { rare: { width: 20, lazy: true } } });
    const id = await upload(project, await photo({ width: 80, height: 60 }));
    const before = renders;
    const file = {
      id,
      project_id: project.id,
      mime_type: 'image/jpeg',
      frames: null,
      focal_x: null,
      focal_y: null,
    };
    const [wanted] = plannedVariants(project.settings, file);
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        await room.request(file, 'rare', wanted);
        expect(await room.waits.settled(id, 'rare', 12_000, never())).toBe(true);
      }),
    );
    expect(renders - before).toBe(1);
  });

  it('try what may get better until its attempts are used up, then say why', async () => {
    const project = await scene.project({ variants: { thumb: { width: 20 } } });
    const file = await scene.file(project, {
      bytes: Buffer.from('bytes'),
      mimeType: 'image/jpeg',
      status: 'processing',
    });
    await scene.blobs.delete(file.key);
    const row = { id: file.id, project_id: project.id, mime_type: 'image/jpeg' };
    await scene.db.transaction().execute((tx) => planVariants(tx, row, project.settings));
    expect(await room.waits.settled(file.id, 'thumb', 12_000, never())).toBe(true);
    const variant = await scene.db
      .selectFrom('variants')
      .selectAll()
      .where('file_id', '=', file.id)
      .executeTakeFirstOrThrow();
    expect(variant).toMatchObject({ status: 'failed', failure_code: 'original-missing', generation: 5 });
    const { failure } = await scene.db
      .selectFrom('files')
      .select('failure')
      .where('id', '=', file.id)
      .executeTakeFirstOrThrow();
    expect(failure).toBe('The original could not be read whole from the store.');
  });
});
