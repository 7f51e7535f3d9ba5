import { rescale, within, type Size } from './geometry.js';
import type { Recipe } from './recipe.js';

/** Longest side that is drawn: the longest that every output format can have. */
const longestSide = 16_383;

/**
 * The largest whole multiple of a drawing's own size that keeps to the limit of pixels. A drawing has no pixels of its own:
 * recipes are followed as if it were a picture of this size, so that an icon can be shown large, and sharp.
 */
export function magnified(drawing: Size, maxPixels: number): Size {
  const byArea = Math.sqrt(maxPixels / (drawing.width * drawing.height));
  const bySide = longestSide / Math.max(drawing.width, drawing.height);
  const times = Math.max(1, Math.floor(Math.min(byArea, bySide)));
  return { width: drawing.width * times, height: drawing.height * times };
}

/** The recipe for the magnified drawing; its crop is in the pixels of the drawing's own size. */
export function magnifyRecipe(recipe: Recipe, drawing: Size, large: Size): Recipe {
  return recipe.crop ? { ...recipe, crop: rescale(within(drawing, recipe.crop), drawing, large) } : recipe;
}
