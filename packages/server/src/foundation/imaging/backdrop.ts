import { keepsAlpha } from './encode.js';
import type { Recipe } from './recipe.js';

/** sRGB, 0–255 each; alpha 0–1. */
export interface Colour {
  readonly r: number;
  readonly g: number;
  readonly b: number;
  readonly alpha: number;
}

export const transparent: Colour = { r: 255, g: 255, b: 255, alpha: 0 };

/**
 * What is to stand behind a picture and around it: the recipe's background, which lies on white where the format has
 * no transparency. Undefined when nothing is.
 */
export function backdropOf({
  background,
  format,
}: Pick<Recipe, 'background' | 'format'>): Colour | undefined {
  const colour = background === undefined ? undefined : colourOf(background);
  return keepsAlpha(format) ? colour : onWhite(colour ?? transparent);
}

/** The colour as one pixel of four bytes. */
export function pixelOf({ r, g, b, alpha }: Colour): Buffer {
  return Buffer.from([r, g, b, Math.round(255 * alpha)]);
}

function colourOf(background: string): Colour {
  const [r = 0, g = 0, b = 0, alpha = 255] = Buffer.from(background.slice(1), 'hex');
  return { r, g, b, alpha: alpha / 255 };
}

function onWhite({ r, g, b, alpha }: Colour): Colour {
  const mix = (value: number): number => Math.round(value * alpha + 255 * (1 - alpha));
  return { r: mix(r), g: mix(g), b: mix(b), alpha: 1 };
}
