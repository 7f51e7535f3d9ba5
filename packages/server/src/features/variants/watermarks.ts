import { join } from 'node:path';

import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import { isFilm } from '../../foundation/imaging/film-formats.js';
import type { Recipe } from '../../foundation/imaging/recipe.js';
import { OriginalUnavailable } from './failures.js';
import { fetchOriginal } from './original.js';
import { findOriginals } from './queries.js';
import { isDecodable } from './recipes.js';

/**
 * Brings the watermarks that recipes name to the local disk. Those that are no living picture of the project, or
 * whose blob is gone, are left out; the engine says so of the variants that want them.
 * @returns their paths by file id.
 */
export async function fetchWatermarks(
  { db, blobs }: { readonly db: Db; readonly blobs: BlobStore },
  projectId: string,
  recipes: readonly Recipe[],
  folder: string,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  const ids = [...new Set(recipes.flatMap(({ watermark }) => (watermark ? [watermark.fileId] : [])))];
  const paths: Record<string, string> = {};
  for (const file of await findOriginals(db, projectId, ids)) {
    if (!isDecodable(file.mime_type) || isFilm(file.mime_type)) continue;
    const path = join(folder, `watermark-${file.id}`);
    try {
      await fetchOriginal(blobs, file, path, signal);
      paths[file.id] = path;
    } catch (error) {
      if (!(error instanceof OriginalUnavailable)) throw error;
    }
  }
  return paths;
}
