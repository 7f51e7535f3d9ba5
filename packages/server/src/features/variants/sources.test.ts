import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';

import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  derivable,
  openScene,
  runJob,
  type Scene,
  type SceneFile,
  type SceneProject,
} from '../../../test/content-scene.js';
import { ffmpeg, makeFilm, makeMp4, needsFfmpeg, turnByMatrix } from '../../../test/fixtures/films.js';
import { decoderEntry } from '../../../test/fixtures/imaging.js';
import { svgBomb, svgPicture } from '../../../test/fixtures/impostors.js';
import { photo } from '../../../test/fixtures/pictures.js';
import { ImagingError, type Imaging } from '../../foundation/imaging/imaging.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { createPosters, type Posters } from '../../foundation/imaging/poster.js';
import { configOf, planVariants, type PlanOptions } from './plan.js';
import { createRenderHandler } from './render.js';
import { plannedVariants } from './wanted.js';

/** What variants are made of that is no picture: videos and drawings. */
let scene: Scene;
let imaging: Imaging;
let temporaryFolder: string;

beforeAll(async () => {
  scene = await openScene();
  temporaryFolder = join(scene.temporaryFolder, 'work');
  await mkdir(temporaryFolder);
  imaging = createImaging({
    log: scene.log,
    size: 1,
    memoryLimitBytes: 2 ** 30,
    wallClockMs: 2000,
    rasterizesSvg: true,
    childEntry: await decoderEntry(),
  });
});
afterAll(async () => {
  await imaging.close();
  await scene.close();
});

const recipes = { variants: { thumb: { width: 40, format: 'png' }, wide: { width: 100, format: 'png' } } };

async function upload(project: SceneProject, bytes: Buffer, mimeType: string, options?: PlanOptions) {
  const file = await scene.file(project, { bytes, mimeType, status: 'processing' });
  await scene.db.transaction().execute(async (tx) => {
    const row = { id: file.id, project_id: project.id, mime_type: mimeType };
    const status = await planVariants(tx, row, project.settings, options);
    await tx.updateTable('files').set({ status }).where('id', '=', file.id).execute();
  });
  return file;
}

function run(project: SceneProject, file: SceneFile, posters?: Posters, attempt = 1): Promise<void> {
  const { db, blobs, log } = scene;
  const handler = createRenderHandler({
    db,
    blobs,
    imaging,
    posters,
    temporaryFolder,
    maxWriteSeconds: 60,
    log,
  });
  const payload = {
    fileId: file.id,
    variantsConfig: configOf(plannedVariants(project.settings, derivable(file))),
  };
  return runJob(scene, handler, { payload, projectId: project.id, attempt });
}

const fileRow = (file: SceneFile) =>
  scene.db.selectFrom('files').selectAll().where('id', '=', file.id).executeTakeFirstOrThrow();
const rowsOf = (file: SceneFile) =>
  scene.db.selectFrom('variants').selectAll().where('file_id', '=', file.id).orderBy('name').execute();
const jobsOf = ({ id }: SceneProject) =>
  scene.db.selectFrom('waiting_jobs').selectAll().where('project_id', '=', id).execute();

describe('a video', () => {
  const film = Buffer.from('a film');

  it('is planned like a picture: whether there is ffmpeg, a worker knows', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project, film, 'video/mp4');
    expect((await fileRow(file)).status).toBe('processing');
    expect(await jobsOf(project)).toMatchObject([{ kind: 'render-variants' }]);
  });

  it('is ready without ffmpeg, is not even fetched, and its variants say why they are not made', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project, film, 'video/mp4');
    await scene.blobs.delete(file.key);
    await run(project, file);
    expect(await fileRow(file)).toMatchObject({ status: 'ready', failure: null, width: null });
    const reason = { status: 'failed', failure_code: 'no-ffmpeg', pending_key: null };
    expect(await rowsOf(file)).toMatchObject([reason, reason]);
    expect((await rowsOf(file))[0]!.failure).toMatch(/ffmpeg/);
  });

  it('gets its variants from its poster, whose size becomes its own', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project, film, 'video/webm');
    const posters: Posters = {
      async take({ path, mimeType, folder }) {
        expect([await readFile(path), mimeType]).toEqual([film, 'video/webm']);
        const poster = join(folder, 'poster.png');
        await writeFile(poster, await photo({ width: 320, height: 240, format: 'png' }));
        return poster;
      },
    };
    await run(project, file, posters);
    expect(await fileRow(file)).toMatchObject({
      status: 'ready',
      width: 320,
      height: 240,
      frames: 1,
      mime_type: 'video/webm',
      thumbhash: expect.any(Buffer) as Buffer,
    });
    expect(await rowsOf(file)).toMatchObject([
      { status: 'ready', width: 40, height: 30, mime_type: 'image/png' },
      { status: 'ready', width: 100, height: 75 },
    ]);
    expect(await readdir(temporaryFolder)).toEqual([]);
  });

  it.each([
    ['corrupt-image', 'failed', 'The film is damaged: no end'],
    ['unsupported-codec', 'ready', 'The film has no pictures.'],
  ] as const)('that is %s says so, and is %s', async (code, status, sentence) => {
    const project = await scene.project(recipes);
    const file = await upload(project, film, 'video/mp4');
    await run(project, file, { take: () => Promise.reject(new ImagingError(code, sentence)) });
    const reason = { status: 'failed', failure_code: code, failure: sentence };
    expect(await rowsOf(file)).toMatchObject([reason, reason]);
    expect(await fileRow(file)).toMatchObject({ status, failure: status === 'failed' ? sentence : null });
  });

  it('that hangs is tried again, and leaves its reason', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project, film, 'video/mp4');
    const sentence = 'The film took longer than 60 s and was stopped.';
    const posters: Posters = { take: () => Promise.reject(new ImagingError('decoder-timeout', sentence)) };
    await expect(run(project, file, posters)).rejects.toThrow(sentence);
    expect(await rowsOf(file)).toMatchObject([
      { status: 'pending', failure_code: 'decoder-timeout', failure: sentence },
      { status: 'pending' },
    ]);
  });

  it('is no watermark', async () => {
    const first = await scene.project(recipes);
    const logo = await upload(first, film, 'video/mp4');
    const project = await scene.changeSettings(first, {
      variants: { thumb: { width: 40, watermark: { fileId: logo.id } } },
    });
    const file = await upload(project, await photo({ width: 80, height: 60 }), 'image/jpeg');
    await run(project, file);
    expect((await rowsOf(file))[0]).toMatchObject({ status: 'failed', failure_code: 'watermark-unusable' });
  });

  if (ffmpeg === undefined) {
    it.skip(needsFfmpeg, () => undefined);
    return;
  }
  const posters = createPosters({
    ffmpeg,
    parallel: 1,
    memoryLimitBytes: 2 ** 30,
    wallClockMs: 10_000,
    maxPixels: 50_000_000,
  });

  it('from a telephone held upright has upright variants; its original stays as it is', async () => {
    const path = await makeMp4(
      join(scene.temporaryFolder, 'film.mp4'),
      'color=red:size=160x60:rate=10:duration=1[a];color=blue:size=160x60:rate=10:duration=1[b];[a][b]vstack',
    );
    await turnByMatrix(path, 120);
    const bytes = await readFile(path);
    const project = await scene.project(recipes);
    const file = await upload(project, bytes, 'video/mp4');
    await run(project, file, posters);
    expect(await fileRow(file)).toMatchObject({ status: 'ready', width: 120, height: 160 });
    const wide = (await rowsOf(file))[1]!;
    expect(wide).toMatchObject({ status: 'ready', width: 100, height: 133 });
    const picture = await buffer((await scene.blobs.get(wide.s3_key!)).body);
    const { data, info } = await sharp(picture).raw().toBuffer({ resolveWithObject: true });
    const at = (x: number) => [...data.subarray((60 * info.width + x) * 3, (60 * info.width + x) * 3 + 3)];
    const [left, right] = [at(20), at(80)];
    expect(left[2]).toBeGreaterThan(230);
    expect(right[0]).toBeGreaterThan(230);
    expect(await buffer((await scene.blobs.get(file.key)).body)).toEqual(bytes);
  });

  it('of sound alone is ready, and one that is broken has failed; both say why', async () => {
    const project = await scene.project(recipes);
    const sound = join(scene.temporaryFolder, 'sound.mp4');
    await makeFilm(sound, 'sine=duration=1', '-c:a', 'aac');
    const silent = await upload(project, await readFile(sound), 'video/mp4');
    const broken = await upload(project, (await readFile(sound)).subarray(0, 900), 'video/mp4');
    await run(project, silent, posters);
    await run(project, broken, posters);
    expect((await fileRow(silent)).status).toBe('ready');
    expect((await rowsOf(silent))[0]).toMatchObject({ failure: 'The film has no pictures.' });
    expect(await fileRow(broken)).toMatchObject({
      status: 'failed',
      failure: expect.stringMatching(/^The film is damaged/) as string,
    });
  });
});

describe('a drawing', () => {
  it('is planned only where it is drawn', async () => {
    const project = await scene.project(recipes);
    const shut = await upload(project, svgPicture(), 'image/svg+xml');
    expect((await fileRow(shut)).status).toBe('ready');
    expect(await rowsOf(shut)).toMatchObject([{ failure_code: 'unsupported-codec' }, {}]);
    expect(await jobsOf(project)).toEqual([]);
    const drawn = await upload(project, svgPicture(), 'image/svg+xml', { rasterizesSvg: true });
    expect((await fileRow(drawn)).status).toBe('processing');
    expect(await jobsOf(project)).toHaveLength(1);
  });

  it('has variants of any size, and its own size', async () => {
    const project = await scene.project(recipes);
    const file = await upload(project, svgPicture(), 'image/svg+xml', { rasterizesSvg: true });
    await run(project, file);
    expect(await fileRow(file)).toMatchObject({ status: 'ready', width: 40, height: 40 });
    expect(await rowsOf(file)).toMatchObject([{ width: 40 }, { width: 100, height: 100 }]);
  });

  it('that keeps the rasteriser busy leaves a reason, and its neighbour is rendered', async () => {
    const project = await scene.project(recipes);
    const bomb = await upload(project, svgBomb(), 'image/svg+xml', { rasterizesSvg: true });
    const neighbour = await upload(project, svgPicture(), 'image/svg+xml', { rasterizesSvg: true });
    await Promise.all([
      expect(run(project, bomb)).rejects.toMatchObject({ code: 'decoder-timeout' }),
      run(project, neighbour),
    ]);
    expect((await rowsOf(bomb))[0]).toMatchObject({
      failure_code: 'decoder-timeout',
      failure: 'The picture took longer than 2 s and was stopped.',
    });
    expect((await fileRow(neighbour)).status).toBe('ready');
  });
});
