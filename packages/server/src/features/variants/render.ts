import { createReadStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import pLimit from 'p-limit';

import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Imaging, RenderedImage, RenderResult } from '../../foundation/imaging/imaging.js';
import { isFilm } from '../../foundation/imaging/film-formats.js';
import type { Posters } from '../../foundation/imaging/poster.js';
import type { Log } from '../../foundation/log.js';
import { handle, LeaseLost, type JobContext, type JobHandler } from '../../foundation/queue/define.js';
import { claimVariants, completeClaim, failClaim, giveUp, releaseClaim, type Claim } from './claim.js';
import { FfmpegMissing, failureOf, isPermanent, recipeFailure } from './failures.js';
import { renderVariants } from './job.js';
import { fetchOriginal } from './original.js';
import { fetchWatermarks } from './watermarks.js';
import { focalPointOf } from './wanted.js';
import { createWorkFolders, type WorkFolders } from './work-folders.js';

export interface RenderOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly imaging: Imaging;
  /** Takes the pictures of videos; undefined where there is no ffmpeg. */
  readonly posters?: Posters | undefined;
  /** Existing folder; each attempt works in one of its own below it and removes it. */
  readonly temporaryFolder: string;
  /** Seconds after which no put of an abandoned attempt can still be under way. */
  readonly maxWriteSeconds: number;
  readonly log: Log;
}

/** Outputs up to this size are handed to the store as one buffer: a stream costs more than it saves. */
const wholeReadBytes = 1024 * 1024;
/** Variants written to the store at once. More only adds memory: disks and buckets answer in milliseconds. */
const parallelPuts = 4;

/**
 * Makes all variants that a job asks for from one decode of the original, and lets them count in one transaction
 * with the end of the job; those in quick formats before, while slow ones are still being encoded. A fault of the picture fails it at once with a reason; anything else is retried.
 */
export function createRenderHandler(options: RenderOptions): JobHandler {
  const folders = createWorkFolders(options.temporaryFolder, options.log);
  return handle(
    renderVariants,
    (context) => renderJob(options, folders, context),
    async (tx, job) => {
      // A job without a project was not enqueued by planVariants or requestVariant.
      if (job.projectId !== null) await giveUp(tx, job.payload, job.projectId, options.maxWriteSeconds);
    },
  );
}

async function renderJob(
  options: RenderOptions,
  folders: WorkFolders,
  context: JobContext<typeof renderVariants.payload>,
): Promise<void> {
  const { db, maxWriteSeconds } = options;
  const { payload, projectId, attempt, signal } = context;
  if (projectId === null) throw new TypeError('a render-variants job belongs to a project');
  signal.throwIfAborted();
  const began = performance.now();
  const claim = await claimVariants(db, payload, projectId, { attempt, maxWriteSeconds });
  if (!claim) return;
  try {
    await folders.use(async (folder) => {
      const { result, stored } = await makeVariants(options, claim, folder, signal);
      const rest = { ...claim, variants: claim.variants.filter(({ name }) => !stored.has(name)) };
      const failed = new Map(
        result.failures.map(({ name, code, detail }) => [name, recipeFailure(code, detail)]),
      );
      await context.finish((tx) =>
        completeClaim(tx, rest, { made: byName(result.images), failed }, maxWriteSeconds, factsOf(result)),
      );
      context.log.info(
        {
          fileId: payload.fileId,
          variants: claim.variants.map(({ name }) => name),
          durationMs: Math.round(performance.now() - began),
        },
        'variants rendered',
      );
    });
  } catch (error) {
    // Whoever holds the lease now has taken the rows over, or will.
    if (error instanceof LeaseLost) throw error;
    const reason = failureOf(error);
    if (isPermanent(error)) {
      context.log.info({ fileId: payload.fileId, code: reason.code }, 'the file cannot be processed');
      await context.finish((tx) => failClaim(tx, claim, reason, maxWriteSeconds));
      return;
    }
    await releaseClaim(db, claim, reason, maxWriteSeconds).catch((releaseError: unknown) => {
      // The next attempt takes held rows over all the same; it is only later.
      context.log.warn({ err: releaseError, fileId: payload.fileId }, 'a failed attempt could not let go');
    });
    throw error;
  }
}

/** @returns what was made, and the names of those that count already; the others are in the store. */
async function makeVariants(
  { db, blobs, imaging, posters, maxWriteSeconds }: RenderOptions,
  claim: Claim,
  folder: string,
  signal: AbortSignal,
): Promise<{ readonly result: RenderResult; readonly stored: ReadonlySet<string> }> {
  const { mime_type: mimeType } = claim.file;
  // Asked before a film is fetched for nothing.
  const takePoster = isFilm(mimeType) ? takerOf(posters) : undefined;
  const original = join(folder, 'original');
  await fetchOriginal(blobs, claim.file, original, signal);
  const picture = takePoster ? await takePoster({ path: original, mimeType, folder, signal }) : original;
  const outputFolder = join(folder, 'out');
  await mkdir(outputFolder);
  const recipes = claim.variants.map(({ name, recipe }) => ({ name, recipe }));
  const watermarks = await fetchWatermarks(
    { db, blobs },
    claim.file.project_id,
    recipes.map(({ recipe }) => recipe),
    folder,
    signal,
  );
  const limit = pLimit(parallelPuts);
  const put = async (images: readonly RenderedImage[]): Promise<void> => {
    const keys = new Map(claim.variants.map(({ name, key }) => [name, key]));
    const puts = await Promise.allSettled(
      images.map((image) => limit(() => putImage(blobs, keys.get(image.name) ?? '', image, signal))),
    );
    // All are waited for, so that none is still reading the folder when it is removed.
    for (const one of puts) if (one.status === 'rejected') throw one.reason;
  };

  const stored = new Set<string>();
  let early: Promise<void> | undefined;
  const storeEarly = async (images: readonly RenderedImage[]): Promise<void> => {
    await put(images);
    for (const { name } of images) stored.add(name);
    const variants = claim.variants.filter(({ name }) => stored.has(name));
    const outcome = { made: byName(images), failed: new Map() };
    // Not fenced by the lease but by the keys: of rows that another attempt has taken over nothing counts.
    await db
      .transaction()
      .execute((tx) => completeClaim(tx, { ...claim, variants }, outcome, maxWriteSeconds));
  };
  const rendering = imaging.render({
    path: picture,
    recipes,
    focalPoint: focalPointOf(claim.file),
    watermarks,
    outputFolder,
    signal,
    onQuick: (images) => {
      early = storeEarly(images);
      // It is waited for below, after the render, which may fail first.
      early.catch(() => undefined);
    },
  });
  const [rendered] = await Promise.allSettled([rendering]);
  await early;
  if (rendered.status === 'rejected') throw rendered.reason;
  const result = rendered.value;
  if (result.images.length + result.failures.length !== recipes.length) {
    throw new TypeError('the engine left a variant out');
  }
  await put(result.images.filter(({ name }) => !stored.has(name)));
  return { result, stored };
}

function byName(images: readonly RenderedImage[]): ReadonlyMap<string, RenderedImage> {
  return new Map(images.map((image) => [image.name, image]));
}

function takerOf(posters: Posters | undefined): Posters['take'] {
  if (!posters) throw new FfmpegMissing('there is no ffmpeg');
  return posters.take;
}

async function putImage(
  blobs: BlobStore,
  key: string,
  image: RenderedImage,
  signal: AbortSignal,
): Promise<void> {
  const body = image.size <= wholeReadBytes ? await readFile(image.path) : createReadStream(image.path);
  await blobs.put(key, body, { size: image.size, contentType: image.mimeType, signal });
}

function factsOf({ facts, thumbhash, dominantColor, exif }: RenderResult) {
  const { width, height, frames, hasAlpha } = facts;
  return { width, height, frames, hasAlpha, thumbhash, dominantColor, exif };
}
