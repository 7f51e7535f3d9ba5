import {
  follow,
  largest,
  place,
  sizeFor,
  turned,
  within,
  type Placement,
  type Point,
  type Size,
} from './geometry.js';
import type { PictureFacts } from './imaging.js';
import type { Recipe } from './recipe.js';
import { summaryBox } from './summary.js';

/** Longest side at which a picture is decoded whose border is to be trimmed: what is left is known only then. */
const trimSide = 4096;

/** How a recipe is placed on the picture it is given once that has been cut and turned; `shaped` is its size. */
export function placeShaped(
  original: Size,
  shaped: Size,
  recipe: Recipe,
  focalPoint: Point | undefined,
): Placement {
  const region = within(original, recipe.crop);
  // After a trim nothing is left but what the pixels tell.
  const picture = recipe.trim === undefined ? turned(region, recipe.rotate) : shaped;
  const focus = focalPoint && follow(focalPoint, original, region, recipe);
  return place(picture, recipe, focus);
}

/**
 * The size at which a picture has to be decoded so that every recipe, and the summary, can be made from it without
 * enlarging what the original has in more detail.
 */
export function decodeSize(facts: PictureFacts, recipes: readonly Recipe[]): Size {
  return largest([place(facts, summaryBox).size, ...recipes.map((recipe) => sizeForRecipe(facts, recipe))]);
}

function sizeForRecipe(facts: PictureFacts, recipe: Recipe): Size {
  const region = within(facts, recipe.crop);
  if (recipe.trim !== undefined) {
    const box = { width: trimSide, height: trimSide, fit: 'inside' } as const;
    return sizeFor(facts, region, place(region, box).size);
  }
  const { scaled } = place(turned(region, recipe.rotate), recipe);
  return sizeFor(facts, region, turned(scaled, recipe.rotate));
}
