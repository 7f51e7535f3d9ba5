import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import type { Db } from '../../../foundation/database/connect.js';
import { isFilm } from '../../../foundation/imaging/film-formats.js';
import { autoFormats, concrete } from '../../../foundation/imaging/formats.js';
import { ImagingError, type Imaging } from '../../../foundation/imaging/imaging.js';
import type { AskedRecipe, Recipe } from '../../../foundation/imaging/recipe.js';
import type { Log } from '../../../foundation/log.js';
import { Problem } from '../../../foundation/problems.js';
import { findFile, type FileRow } from '../../files/queries.js';
import { fetchOriginal } from '../original.js';
import { isDecodable, isKeptByFrame } from '../recipes.js';
import { focalPointOf } from '../wanted.js';
import { fetchWatermarks } from '../watermarks.js';
import { createWorkFolders } from '../work-folders.js';

export interface PreviewOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Decoders of their own: the door's look at headers, and the workers, do not wait for people who try things out. */
  readonly imaging: Imaging;
  /** Folder for originals, below which each preview works in one of its own. */
  readonly temporaryFolder: string;
  readonly log: Log;
  /** Previews of one project in a minute that this process makes; 60 when absent. */
  readonly perMinute?: number;
}

export interface PreviewImage {
  readonly bytes: Buffer;
  readonly mimeType: string;
  /** Pixels of one frame. */
  readonly width: number;
  readonly height: number;
}

export interface PreviewRequest {
  readonly projectId: string;
  readonly fileId: string;
  readonly recipe: AskedRecipe;
  /** Media types that the client names, for the format `auto`. */
  readonly types: ReadonlySet<string>;
  /** Kills the decoder. */
  readonly signal: AbortSignal;
}

const standardPerMinute = 60;

/**
 * Renders recipes without keeping anything, for editors that show what a recipe would do.
 * @throws Problem `not-found`, `preview-failed`, `too-many-requests`, `overloaded`.
 */
export function createPreview(options: PreviewOptions): (request: PreviewRequest) => Promise<PreviewImage> {
  const folders = createWorkFolders(options.temporaryFolder, options.log);
  const limiter = new RateLimiterMemory({ points: options.perMinute ?? standardPerMinute, duration: 60 });
  return async (request) => {
    await spend(limiter, request.projectId);
    const file = await findFile(options.db, request.projectId, request.fileId);
    if (!file) throw new Problem('not-found');
    // A film is long, and its poster is the worker's to take.
    if (!isDecodable(file.mime_type) || isFilm(file.mime_type)) {
      throw new Problem('preview-failed', {
        detail: `No pictures are made of files of the type ${file.mime_type}.`,
      });
    }
    await mkdir(options.temporaryFolder, { recursive: true, mode: 0o700 });
    try {
      return await folders.use((folder) => renderPreview(options, file, request, folder));
    } catch (error) {
      throw problemOf(error);
    }
  };
}

async function spend(limiter: RateLimiterMemory, projectId: string): Promise<void> {
  try {
    await limiter.consume(projectId);
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal;
    throw new Problem('too-many-requests', {
      detail: `A project may have ${limiter.points} previews in a minute.`,
      limit: limiter.points,
      retryAfter: Math.max(1, Math.ceil(refusal.msBeforeNext / 1000)),
    });
  }
}

async function renderPreview(
  { db, blobs, imaging }: PreviewOptions,
  file: FileRow,
  { recipe: asked, types, signal }: PreviewRequest,
  folder: string,
): Promise<PreviewImage> {
  const recipe = inFormatFor(asked, file, types);
  const path = join(folder, 'original');
  await fetchOriginal(blobs, file, path, signal);
  const watermarks = await fetchWatermarks({ db, blobs }, file.project_id, [recipe], folder, signal);
  const outputFolder = join(folder, 'out');
  await mkdir(outputFolder);
  const { images, failures } = await imaging.render({
    path,
    recipes: [{ name: 'preview', recipe }],
    focalPoint: focalPointOf(file),
    watermarks,
    outputFolder,
    signal,
  });
  const [image] = images;
  if (!image) throw new Problem('preview-failed', { detail: failures[0]?.detail });
  const { width, height, mimeType } = image;
  return { bytes: await readFile(image.path), mimeType, width, height };
}

function inFormatFor(asked: AskedRecipe, file: FileRow, types: ReadonlySet<string>): Recipe {
  if (asked.format !== 'auto') return concrete(asked, asked.format);
  const original = { mimeType: file.mime_type, frames: file.frames };
  const formats = autoFormats(original, isKeptByFrame(asked));
  const format = formats.find((candidate) => types.has(`image/${candidate}`)) ?? formats.at(-1);
  return concrete(asked, format ?? 'jpeg');
}

function problemOf(error: unknown): unknown {
  if (!(error instanceof ImagingError)) return error;
  if (error.code === 'overloaded') {
    return new Problem('overloaded', { detail: error.message, retryAfter: 2, cause: error });
  }
  const isOfPicture = error.permanent || error.code === 'decoder-timeout' || error.code === 'decoder-memory';
  return isOfPicture ? new Problem('preview-failed', { detail: error.message, cause: error }) : error;
}
