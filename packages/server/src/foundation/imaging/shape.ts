import type { Sharp } from 'sharp';

import { openRaw, type Intermediate } from './decode.js';
import { rescale, turned, within, type Size } from './geometry.js';
import type { Recipe, Rectangle } from './recipe.js';

type Shaping = Pick<Recipe, 'crop' | 'trim' | 'rotate' | 'flip'>;

/** True when the recipe takes the whole upright picture as it is. */
export function isUnshaped({ crop, trim, rotate, flip }: Shaping): boolean {
  return crop === undefined && trim === undefined && rotate === undefined && flip === undefined;
}

/**
 * Cuts and turns the decoded picture as a recipe wants it before it is sized.
 * @param original size of the upright original, in whose pixels the recipe's crop is.
 */
export async function shape(picture: Intermediate, original: Size, recipe: Shaping): Promise<Intermediate> {
  let shaped = picture;
  if (recipe.crop) shaped = cut(shaped, rescale(within(original, recipe.crop), original, picture));
  if (recipe.trim !== undefined) shaped = cut(shaped, await contentOf(shaped, recipe.trim));
  return turn(shaped, recipe);
}

/** Takes a rectangle out of every frame. Row by row: sharp cuts no frames before it sizes them. */
function cut(picture: Intermediate, { left, top, width, height }: Rectangle): Intermediate {
  if (width === picture.width && height === picture.height) return picture;
  const { channels, frames } = picture;
  const row = width * channels;
  const data = Buffer.allocUnsafe(row * height * frames);
  for (let frame = 0; frame < frames; frame++) {
    for (let y = 0; y < height; y++) {
      const from = ((frame * picture.height + top + y) * picture.width + left) * channels;
      picture.data.copy(data, (frame * height + y) * row, from, from + row);
    }
  }
  return { ...picture, data, width, height };
}

/** The rectangle that is left when the border of the first frame's colour is cut off. */
async function contentOf(picture: Intermediate, threshold: number): Promise<Rectangle> {
  const { info } = await openRaw(picture, { firstFrame: true })
    .trim({ threshold })
    .raw()
    .toBuffer({ resolveWithObject: true });
  return {
    left: Math.abs(info.trimOffsetLeft ?? 0),
    top: Math.abs(info.trimOffsetTop ?? 0),
    width: info.width,
    height: info.height,
  };
}

async function turn(picture: Intermediate, { rotate, flip }: Shaping): Promise<Intermediate> {
  let result = picture;
  // Two passes: sharp mirrors before it turns, whatever the order of the calls.
  if (rotate !== undefined) {
    result = await eachFrame(result, turned(result, rotate), (frame) => frame.rotate(rotate));
  }
  if (flip !== undefined) {
    result = await eachFrame(result, result, (frame) => {
      const upsideDown = flip === 'horizontal' ? frame : frame.flip();
      return flip === 'vertical' ? upsideDown : upsideDown.flop();
    });
  }
  return result;
}

/** Does something to every frame by itself: sharp turns none and blurs across the borders between them. */
export async function eachFrame(
  picture: Intermediate,
  size: Size,
  change: (frame: Sharp) => Sharp,
): Promise<Intermediate> {
  const { frames, channels } = picture;
  const bytes = picture.width * picture.height * channels;
  const changed: Buffer[] = [];
  for (let frame = 0; frame < frames; frame++) {
    const alone = { ...picture, frames: 1, data: picture.data.subarray(frame * bytes, (frame + 1) * bytes) };
    const { data, info } = await change(openRaw(alone)).raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== channels || info.width !== size.width || info.height !== size.height) {
      throw new Error(`a frame became ${info.width} × ${info.height} × ${info.channels}`);
    }
    changed.push(data);
  }
  const [first] = changed;
  return {
    ...picture,
    width: size.width,
    height: size.height,
    data: first && frames === 1 ? first : Buffer.concat(changed),
  };
}
