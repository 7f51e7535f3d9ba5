import { createHash } from 'node:crypto';

import type { Json } from '../../foundation/database/tables.js';
import { isFilm } from '../../foundation/imaging/film-formats.js';
import type { Point } from '../../foundation/imaging/geometry.js';
import type { AskedRecipe, OutputFormat, Recipe } from '../../foundation/imaging/recipe.js';
import { isRecipe } from '../../foundation/imaging/vocabulary.js';

/** Types whose pixels the decoder reads; the same loaders are allowed in foundation/imaging. */
const decodableTypes = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif']);

/** SVG: a worker draws it where it is allowed to. */
export const drawingType = 'image/svg+xml';

/**
 * Whether variants can be made of a file of this (detected) type, by a worker that has all it needs: SVG needs a setting,
 * videos need ffmpeg. Others than workers cannot know, so they let one try.
 */
export function isDecodable(mimeType: string): boolean {
  return decodableTypes.has(mimeType) || mimeType === drawingType || isFilm(mimeType);
}

/** Whether a file of this type ought to have variants: a picture or a video, decodable or not. */
export function isVisual(mimeType: string): boolean {
  return mimeType.startsWith('image/') || mimeType.startsWith('video/');
}

const extensions: Record<OutputFormat, string> = {
  jpeg: 'jpg',
  png: 'png',
  webp: 'webp',
  avif: 'avif',
  gif: 'gif',
};

/** Extension of a variant's key and download name. */
export function extensionOf(recipe: Recipe): string {
  return extensions[recipe.format];
}

/** The recipe alone, without what a project's settings say about when it is made. */
export function recipeOf<R extends AskedRecipe>(setting: R & { readonly lazy?: boolean }): Omit<R, 'lazy'> {
  const recipe: R & { lazy?: boolean } = { ...setting };
  delete recipe.lazy;
  return recipe;
}

/** Whether the recipe keeps the frames of an animation where its format can. */
export function isKeptByFrame({ animated }: Pick<AskedRecipe, 'animated'>): boolean {
  return animated !== false;
}

/**
 * Names a recipe by what it says: 16 hexadecimal digits of the SHA-256 of its canonical JSON (members sorted,
 * absent ones left out), with the focal point that it is cut around.
 */
export function recipeDigest(recipe: AskedRecipe, focalPoint?: Point): string {
  const members = Object.entries(recipe)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const said = focalPoint ? [...members, ['focalPoint', focalPoint.x, focalPoint.y]] : members;
  return createHash('sha256').update(JSON.stringify(said)).digest('hex').slice(0, 16);
}

/**
 * The recipe of a variant's row.
 * @throws TypeError when the row holds something else, which nothing of ours writes.
 */
export function storedRecipe(json: Json): Recipe {
  if (!isRecipe(json)) throw new TypeError('a variant row holds no recipe');
  return json;
}
