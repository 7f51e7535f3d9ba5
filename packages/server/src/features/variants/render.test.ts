import { createHash } from 'node:crypto';
import { mkdir, readdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import {
  derivable,
  openScene,
  runJob,
  type JobRun,
  type Scene,
  type SceneFile,
  type SceneProject,
} from '../../../test/content-scene.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { svgPicture } from '../../../test/fixtures/impostors.js';
import { photo } from '../../../test/fixtures/pictures.js';
import { StoreUnavailable, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { ImagingError, type Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { LeaseLost, type JobHandler } from '../../foundation/queue/define.js';
import { checkSettings } from '../projects/settings.js';
import type { ImageProcessingJob } from './job.js';
import { configOf, planVariants } from './plan.js';
import { planAnew } from './regenerate/plan-anew.js';
import { plannedVariants } from './wanted.js';
import { createRenderHandler, type RenderOptions } from './render.js';

let scene: Scene;
let engine: Imaging;
let temporaryFolder: string;
let picture: Buffer;
/** Renders since the test began. */
let renders = 0;

beforeAll(async () => {
  scene = await openScene();
  engine = createImaging({
    log: scene.log,
    size: 1,
    memoryLimitBytes: 1024 ** 3,
    wallClockMs: 30_000,
    childEntry: await decoderEntry(),
  });
  temporaryFolder = join(scene.temporaryFolder, 'work');
  await mkdir(temporaryFolder);
  picture = await photo({ width: 320, height: 240 });
});
afterAll(async () => {
  await engine.close();
  await scene.close();
});
beforeEach(() => {
  renders = 0;
});

const imaging: Imaging = {
  probe: (source, signal) => engine.probe(source, signal),
  render: (request) => {
    renders += 1;
    return engine.render(request);
  },
  close: () => Promise.resolve(),
};

function handlerWith(changes: Partial<RenderOptions> = {}): JobHandler {
  const options = {
    db: scene.db,
    blobs: scene.blobs,
    imaging,
    temporaryFolder,
    maxWriteSeconds: 60,
    log: scene.log,
  };
  return createRenderHandler({ ...options, ...changes });
}

type Attempt = Partial<Omit<JobRun, 'projectId' | 'payload'>> & { readonly handler?: JobHandler };

function run(file: SceneFile, payload: ImageProcessingJob, attempt: Attempt = {}): Promise<void> {
  const { handler = handlerWith(), ...rest } = attempt;
  return runJob(scene, handler, { ...rest, projectId: file.projectId, payload });
}

const recipes = {
  variants: { thumb: { width: 40, height: 40, fit: 'cover' }, wide: { width: 100, format: 'jpeg' } },
};

async function upload(project: SceneProject, bytes = picture, mimeType = 'image/jpeg'): Promise<SceneFile> {
  const file = await scene.file(project, { bytes, mimeType, extension: 'jpg', status: 'processing' });
  await scene.db.transaction().execute(async (tx) => {
    const row = { id: file.id, project_id: project.id, mime_type: mimeType };
    const status = await planVariants(tx, row, project.settings);
    await tx.updateTable('files').set({ status }).where('id', '=', file.id).execute();
  });
  return file;
}

const jobOf = (project: SceneProject, file: SceneFile, ...names: string[]): ImageProcessingJob => ({
  fileId: file.id,
  variantsConfig: configOf(
    plannedVariants(project.settings, derivable(file)).filter(
      ({ name }) => names.length === 0 || names.includes(name),
    ),
  ),
});

const planStale = (project: SceneProject, { id: fileId, projectId }: SceneFile) =>
  scene.db
    .transaction()
    .execute((tx) =>
      planAnew(tx, { projectId, fileId }, project.settings, { which: 'stale', lane: 'normal' }),
    );

const rowsOf = async (file: SceneFile) => {
  const rows = await scene.db
    .selectFrom('variants')
    .selectAll()
    .where('file_id', '=', file.id)
    .orderBy('name')
    .execute();
  return Object.fromEntries(rows.map((row) => [row.name, row]));
};
const fileRow = (file: SceneFile) =>
  scene.db.selectFrom('files').selectAll().where('id', '=', file.id).executeTakeFirstOrThrow();
const usedBy = async (project: SceneProject) =>
  (
    await scene.db
      .selectFrom('project_usage')
      .select('variant_bytes')
      .where('project_id', '=', project.id)
      .executeTakeFirstOrThrow()
  ).variant_bytes;
const buried = async (project: SceneProject) => {
  const rows = await scene.db
    .selectFrom('tombstones')
    .selectAll()
    .where('project_id', '=', project.id)
    .execute();
  return new Map(rows.map((row) => [row.key, row]));
};
const jobsOf = async (project: SceneProject) =>
  scene.db.selectFrom('waiting_jobs').selectAll().where('project_id', '=', project.id).execute();
const setDeleted = (file: SceneFile) =>
  scene.db.updateTable('files').set({ deleted_at: new Date() }).where('id', '=', file.id).execute();

/** A store whose puts stop at a gate until it is opened. */
function gated(): { blobs: BlobStore; reached: Promise<void>; open: () => void } {
  let open: () => void = () => undefined;
  let arrive: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const reached = new Promise<void>((resolve) => (arrive = resolve));
  const blobs: BlobStore = {
    ...scene.blobs,
    async put(key, body, options) {
      arrive();
      await gate;
      return scene.blobs.put(key, body, options);
    },
  };
  return { blobs, reached, open };
}

describe('planning', () => {
  it('enqueues one job for what is made at once, and leaves the rest to its first request', async () => {
    const project = await scene.project({
      variants: { thumb: { width: 9 }, rare: { width: 8, lazy: true } },
    });
    const file = await upload(project);
    expect((await fileRow(file)).status).toBe('processing');
    expect(await rowsOf(file)).toMatchObject({
      thumb: { status: 'pending', lazy: false, recipe: { width: 9, fit: 'inside', format: 'webp' } },
      rare: { status: 'pending', lazy: true },
    });
    expect(await jobsOf(project)).toMatchObject([
      { kind: 'render-variants', payload: { fileId: file.id, variantsConfig: { thumb: { width: 9 } } } },
    ]);
  });

  it.each([
    ['image/svg+xml', ['thumb', 'wide']],
    ['image/heic', ['thumb', 'wide']],
    ['image/jxl', ['thumb', 'wide']],
    ['image/bmp', ['thumb', 'wide']],
    ['video/x-unknown', ['thumb', 'wide']],
    ['application/pdf', []],
    ['audio/mpeg', []],
  ])('makes a file of type %s ready, and says why it has no variants', async (type, failed) => {
    const project = await scene.project(recipes);
    const file = await upload(project, svgPicture(), type);
    expect((await fileRow(file)).status).toBe('ready');
    expect(await jobsOf(project)).toEqual([]);
    const rows = await rowsOf(file);
    expect(Object.keys(rows)).toEqual(failed);
    for (const row of Object.values(rows)) {
      expect(row).toMatchObject({ status: 'failed', failure_code: 'unsupported-codec' });
    }
  });

  it('has nothing to do when all variants are lazy', async () => {
    const project = await scene.project({ variants: { rare: { width: 8, lazy: true } } });
    const file = await upload(project);
    expect((await fileRow(file)).status).toBe('ready');
    expect(await jobsOf(project)).toEqual([]);
  });
});

describe('a watermark', () => {
  const marked = (fileId: string) => ({
    variants: { plain: { width: 60 }, marked: { width: 60, format: 'png', watermark: { fileId } } },
  });

  it('is another picture of the project', async () => {
    const first = await scene.project(recipes);
    const logo = await upload(first, await photo({ width: 40, height: 30, seed: 9 }));
    const project = { ...first, settings: checkSettings(marked(logo.id)) };
    const file = await upload(project);
    await run(file, jobOf(project, file));
    expect(await rowsOf(file)).toMatchObject({ plain: { status: 'ready' }, marked: { status: 'ready' } });
    expect((await fileRow(file)).status).toBe('ready');
  });

  it.each(['of another project', 'in the trash', 'without its blob', 'that is no picture'])(
    '%s fails the variant that wants it, and no other',
    async (which) => {
      const first = await scene.project(recipes);
      const owner = which === 'of another project' ? await scene.project(recipes) : first;
      const logo =
        which === 'that is no picture'
          ? await upload(owner, Buffer.from('no picture'), 'application/pdf')
          : await upload(owner, await photo({ width: 40, height: 30 }));
      if (which === 'in the trash') {
        await scene.db
          .updateTable('files')
          .set({ deleted_at: new Date() })
          .where('id', '=', logo.id)
          .execute();
      }
      if (which === 'without its blob') await scene.blobs.delete((await fileRow(logo)).s3_key);
      const project = { ...first, settings: checkSettings(marked(logo.id)) };
      const file = await upload(project);
      await run(file, jobOf(project, file));
      expect(await rowsOf(file)).toMatchObject({
        plain: { status: 'ready' },
        marked: { status: 'failed', failure_code: 'watermark-unusable', pending_key: null },
      });
      expect((await fileRow(file)).status).toBe('failed');
    },
  );
});

describe('a render', () => {
  it('makes all variants of a file from one decode, and the file ready with all that was learnt', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await run(file, jobOf(project, file));
    expect(renders).toBe(1);
    const { thumb, wide } = await rowsOf(file);
    expect(thumb).toMatchObject({
      status: 'ready',
      s3_key: `${project.id}/thumb/${file.id}.webp`,
      pending_key: null,
      generation: 1,
      mime_type: 'image/webp',
      width: 40,
      height: 40,
    });
    expect(wide).toMatchObject({ s3_key: `${project.id}/wide/${file.id}.jpg`, width: 100, height: 75 });
    for (const row of [thumb!, wide!]) {
      const bytes = await buffer((await scene.blobs.get(row.s3_key!)).body);
      expect(bytes).toHaveLength(row.size!);
      expect(createHash('sha256').update(bytes).digest()).toEqual(row.sha256);
    }
    expect(await usedBy(project)).toBe(thumb!.size! + wide!.size!);
    expect(await fileRow(file)).toMatchObject({
      status: 'ready',
      failure: null,
      width: 320,
      height: 240,
      frames: 1,
      has_alpha: false,
      dominant_color: expect.stringMatching(/^#[0-9a-f]{6}$/) as string,
      thumbhash: expect.any(Buffer) as Buffer,
    });
    expect(await buried(project)).toEqual(new Map());
    expect(await readdir(temporaryFolder)).toEqual([]);
  });

  it('leaves alone what is there already', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await run(file, jobOf(project, file));
    const before = await rowsOf(file);
    await run(file, jobOf(project, file));
    expect(renders).toBe(1);
    expect(await rowsOf(file)).toEqual(before);
  });

  it('leaves to another job what that one is making', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const gate = gated();
    const first = run(file, jobOf(project, file), { handler: handlerWith({ blobs: gate.blobs }) });
    await gate.reached;
    await run(file, jobOf(project, file, 'thumb'));
    expect(renders).toBe(1);
    gate.open();
    await first;
    expect((await fileRow(file)).status).toBe('ready');
  });

  it('makes the file ready, whichever of two jobs ends last', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await Promise.all([run(file, jobOf(project, file, 'thumb')), run(file, jobOf(project, file, 'wide'))]);
    expect((await fileRow(file)).status).toBe('ready');
  });

  it('keeps the file in processing until its last eager variant is there; lazy ones do not count', async () => {
    const project = await scene.project({
      variants: { ...recipes.variants, rare: { width: 8, lazy: true } },
    });
    const file = await upload(project);
    await run(file, jobOf(project, file, 'thumb'));
    expect((await fileRow(file)).status).toBe('processing');
    await run(file, jobOf(project, file, 'wide'));
    expect((await fileRow(file)).status).toBe('ready');
    expect((await rowsOf(file))['rare']).toMatchObject({ status: 'pending' });
  });

  it('renews a variant whose recipe has changed; the old one is served until then', async () => {
    const before = await scene.project(recipes);
    const file = await upload(before);
    await run(file, jobOf(before, file));
    const old = (await rowsOf(file))['thumb']!;
    const after = await scene.changeSettings(before, {
      variants: { ...recipes.variants, thumb: { width: 20 } },
    });
    await planStale(after, file);
    const gate = gated();
    const renewal = run(file, jobOf(after, file), { handler: handlerWith({ blobs: gate.blobs }) });
    await gate.reached;
    expect((await rowsOf(file))['thumb']).toMatchObject({ status: 'ready', s3_key: old.s3_key });
    gate.open();
    await renewal;
    const { thumb, wide } = await rowsOf(file);
    expect(thumb).toMatchObject({
      status: 'ready',
      width: 20,
      s3_key: `${before.id}/thumb/${file.id}.2.webp`,
    });
    expect(wide).toMatchObject({ generation: 1 });
    expect([...(await buried(before)).keys()]).toEqual([old.s3_key]);
    expect(await usedBy(before)).toBe(thumb!.size! + wide!.size!);
    expect((await fileRow(file)).status).toBe('ready');
  });
});

describe('quick formats', () => {
  const mixed = {
    variants: {
      best: { width: 40, format: 'avif' },
      thumb: { width: 40 },
      wide: { width: 100, format: 'jpeg' },
    },
  };

  it('are there while slow ones are still being made', async () => {
    const project = await scene.project(mixed);
    const file = await upload(project);
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const slow: Imaging = {
      ...imaging,
      render: async (request) => {
        const result = await imaging.render(request);
        await finished;
        return result;
      },
    };
    const running = run(file, jobOf(project, file), { handler: handlerWith({ imaging: slow }) });
    while ((await rowsOf(file))['thumb']!.status !== 'ready')
      await new Promise((resolve) => setImmediate(resolve));
    const { best, thumb, wide } = await rowsOf(file);
    expect([best!.status, wide!.status]).toEqual(['rendering', 'ready']);
    expect(await scene.blobs.stat(thumb!.s3_key!)).toMatchObject({ size: thumb!.size });
    expect((await fileRow(file)).status).toBe('processing');
    expect(await usedBy(project)).toBe(thumb!.size! + wide!.size!);
    finish();
    await running;
    expect((await rowsOf(file))['best']).toMatchObject({ status: 'ready', generation: 1 });
    expect(await fileRow(file)).toMatchObject({ status: 'ready', width: 320 });
    expect([...(await buried(project)).keys()]).toEqual([]);
  });

  it('stay when the slow ones fail, and are not made again by the next attempt', async () => {
    const project = await scene.project(mixed);
    const file = await upload(project);
    const failing: Imaging = {
      ...imaging,
      render: async (request) => {
        await imaging.render(request);
        throw new ImagingError('decoder-crashed', 'The decoder ended by SIGSEGV.');
      },
    };
    await expect(
      run(file, jobOf(project, file), { handler: handlerWith({ imaging: failing }) }),
    ).rejects.toThrow('SIGSEGV');
    expect((await rowsOf(file))['thumb']).toMatchObject({ status: 'ready', generation: 1 });
    expect((await rowsOf(file))['best']).toMatchObject({
      status: 'pending',
      failure_code: 'decoder-crashed',
    });
    await run(file, jobOf(project, file), { attempt: 2 });
    const rows = await rowsOf(file);
    expect([rows['thumb']!.generation, rows['best']!.generation]).toEqual([1, 2]);
    expect((await fileRow(file)).status).toBe('ready');
  });

  it('of an attempt that has been taken over do not count', async () => {
    const project = await scene.project(mixed);
    const file = await upload(project);
    const gate = gated();
    const first = run(file, jobOf(project, file), {
      handler: handlerWith({ blobs: gate.blobs }),
      lease: { lost: true },
    });
    await gate.reached;
    await run(file, jobOf(project, file), { attempt: 2 });
    const after = await rowsOf(file);
    gate.open();
    await expect(first).rejects.toThrow(LeaseLost);
    expect(await rowsOf(file)).toEqual(after);
    expect(after['thumb']).toMatchObject({ status: 'ready', generation: 2 });
    expect(await usedBy(project)).toBe(after['thumb']!.size! + after['wide']!.size! + after['best']!.size!);
  });
});

describe('a picture that cannot be processed', () => {
  it('fails at once with a reason, and its neighbours never notice', async () => {
    const project = await scene.project(recipes);
    const poison = await upload(project, picture.subarray(0, 600));
    const good = await upload(project);
    await run(poison, jobOf(project, poison));
    await run(good, jobOf(project, good));
    expect((await fileRow(good)).status).toBe('ready');
    const { status, failure } = await fileRow(poison);
    expect(status).toBe('failed');
    expect(failure).toMatch(/^The jpeg picture is damaged/);
    const { thumb, wide } = await rowsOf(poison);
    for (const row of [thumb, wide]) {
      expect(row).toMatchObject({
        status: 'failed',
        failure_code: 'corrupt-image',
        failure,
        pending_key: null,
      });
    }
    expect([...(await buried(project)).keys()].sort()).toEqual([
      `${project.id}/thumb/${poison.id}.webp`,
      `${project.id}/wide/${poison.id}.jpg`,
    ]);
    expect(await readdir(temporaryFolder)).toEqual([]);
  });

  it('stays as it is when only a renewal fails', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await run(file, jobOf(project, file));
    const changed = await scene.changeSettings(project, { variants: { thumb: { width: 21 } } });
    const bytes = Buffer.from('no picture any more');
    await writeFile(join(scene.storeFolder, file.key), bytes);
    const sha256 = createHash('sha256').update(bytes).digest();
    await scene.db
      .updateTable('files')
      .set({ sha256, size: bytes.length })
      .where('id', '=', file.id)
      .execute();
    await run(file, jobOf(changed, file));
    expect((await rowsOf(file))['thumb']).toMatchObject({ status: 'ready', width: 40 });
    expect((await fileRow(file)).status).toBe('ready');
  });
});

describe('a failure that may not last', () => {
  it.each<[string, (path: string) => Promise<void>]>([
    ['missing', unlink],
    ['cut', (path) => writeFile(path, picture.subarray(0, 1000))],
    ['altered', (path) => writeFile(path, Buffer.alloc(picture.length))],
  ])('is an original that is %s: retried, then given up with the reason', async (_what, spoil) => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await spoil(join(scene.storeFolder, file.key));
    const job = jobOf(project, file);
    await expect(run(file, job)).rejects.toThrow('the original');
    expect((await rowsOf(file))['thumb']).toMatchObject({ status: 'pending', pending_key: null });
    expect((await fileRow(file)).status).toBe('processing');
    await expect(run(file, job, { attempt: 2 })).rejects.toThrow('the original');
    expect(renders).toBe(0);

    const dead = { id: file.id, payload: job, projectId: project.id };
    await scene.db.transaction().execute((tx) => handlerWith().dead!(tx, dead, 'attempts exhausted'));
    expect((await rowsOf(file))['thumb']).toMatchObject({
      status: 'failed',
      failure_code: 'original-missing',
    });
    expect(await fileRow(file)).toMatchObject({
      status: 'failed',
      failure: 'The original could not be read whole from the store.',
    });
    expect(await readdir(temporaryFolder)).toEqual([]);
  });

  it('is healed by the next attempt, under the keys of the next generation', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const broken: BlobStore = { ...scene.blobs, put: () => Promise.reject(new Error('the disk is busy')) };
    await expect(
      run(file, jobOf(project, file), { handler: handlerWith({ blobs: broken }) }),
    ).rejects.toThrow('busy');
    await run(file, jobOf(project, file), { attempt: 2 });
    expect(await rowsOf(file)).toMatchObject({
      thumb: { status: 'ready', s3_key: `${project.id}/thumb/${file.id}.2.webp`, failure: null },
      wide: { status: 'ready', s3_key: `${project.id}/wide/${file.id}.2.jpg` },
    });
    expect((await buried(project)).get(`${project.id}/thumb/${file.id}.webp`)?.again_after).not.toBeNull();
    expect((await fileRow(file)).status).toBe('ready');
  });

  it('ends with the worker: a killed one leaves its reason open, and the last resort gives one', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const dead = { id: file.id, payload: jobOf(project, file), projectId: project.id };
    await scene.db.transaction().execute((tx) => handlerWith().dead!(tx, dead, 'the worker died'));
    expect((await rowsOf(file))['thumb']).toMatchObject({
      status: 'failed',
      failure_code: 'processing-failed',
    });
    expect((await fileRow(file)).status).toBe('failed');
    // A person retries the dead letter.
    await run(file, jobOf(project, file));
    expect(await fileRow(file)).toMatchObject({ status: 'ready', failure: null });
  });
});

describe('a worker that was paused for longer than its lease', () => {
  it('writes keys that no longer count, and changes nothing', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const gate = gated();
    const lease = { lost: false };
    const late = run(file, jobOf(project, file), { lease, handler: handlerWith({ blobs: gate.blobs }) });
    await gate.reached;
    lease.lost = true;
    await run(file, jobOf(project, file), { attempt: 2 });
    const settled = await rowsOf(file);
    expect(settled['thumb']).toMatchObject({
      status: 'ready',
      s3_key: `${project.id}/thumb/${file.id}.2.webp`,
    });

    gate.open();
    await expect(late).rejects.toBeInstanceOf(LeaseLost);
    expect(await rowsOf(file)).toEqual(settled);
    expect(await usedBy(project)).toBe(settled['thumb']!.size! + settled['wide']!.size!);
    // What it wrote is deleted now, and once more when it cannot be writing any longer.
    const graves = await buried(project);
    for (const key of [`${project.id}/thumb/${file.id}.webp`, `${project.id}/wide/${file.id}.jpg`]) {
      expect(await scene.blobs.stat(key)).toBeDefined();
      expect(graves.get(key)!.again_after!.getTime() - graves.get(key)!.created_at.getTime()).toBe(60_000);
    }
    expect(graves.has(settled['thumb']!.s3_key!)).toBe(false);
  });

  it('stops at once when it is told', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const stop = new AbortController();
    const slow: Imaging = {
      ...imaging,
      render: (request) => {
        stop.abort(new Error('the server stops'));
        return engine.render(request);
      },
    };
    await expect(
      run(file, jobOf(project, file), { signal: stop.signal, handler: handlerWith({ imaging: slow }) }),
    ).rejects.toThrow();
    expect((await rowsOf(file))['thumb']).toMatchObject({ status: 'pending', pending_key: null });
    expect(await readdir(temporaryFolder)).toEqual([]);
  });
});

describe('a file that is deleted', () => {
  it('while its job waits is not rendered', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await setDeleted(file);
    await run(file, jobOf(project, file));
    expect(renders).toBe(0);
    expect((await rowsOf(file))['thumb']).toMatchObject({ status: 'failed', failure_code: 'file-deleted' });
    expect((await fileRow(file)).status).toBe('failed');
  });

  it('while its job runs keeps nothing of it', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const gate = gated();
    const running = run(file, jobOf(project, file), { handler: handlerWith({ blobs: gate.blobs }) });
    await gate.reached;
    await setDeleted(file);
    gate.open();
    await running;
    expect((await rowsOf(file))['thumb']).toMatchObject({
      status: 'failed',
      s3_key: null,
      pending_key: null,
    });
    expect((await buried(project)).size).toBe(2);
    expect(await usedBy(project)).toBe(0);
  });

  it('and purged while its job runs leaves no blob without a grave', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const gate = gated();
    const running = run(file, jobOf(project, file), { handler: handlerWith({ blobs: gate.blobs }) });
    await gate.reached;
    await scene.db.deleteFrom('files').where('id', '=', file.id).execute();
    gate.open();
    await running;
    expect([...(await buried(project)).keys()].sort()).toEqual([
      `${project.id}/thumb/${file.id}.webp`,
      `${project.id}/wide/${file.id}.jpg`,
    ]);
  });

  it('and purged while its job fails leaves no blob without a grave either', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    const blobs: BlobStore = {
      ...scene.blobs,
      async put() {
        await scene.db.deleteFrom('files').where('id', '=', file.id).execute();
        throw new StoreUnavailable('connection reset', 'key');
      },
    };
    const failing = run(file, jobOf(project, file), { handler: handlerWith({ blobs }) });
    await expect(failing).rejects.toBeInstanceOf(StoreUnavailable);
    expect((await buried(project)).size).toBe(2);
  });

  it('and purged before leaves its job nothing to do', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project);
    await scene.db.deleteFrom('files').where('id', '=', file.id).execute();
    await run(file, jobOf(project, file));
    expect(renders).toBe(0);
  });
});
