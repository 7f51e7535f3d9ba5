import { rgbaToThumbHash } from 'thumbhash';

import { openRaw, type Intermediate } from './decode.js';
import { place } from './geometry.js';

/** What stands in for a picture until it is loaded. */
export interface Summary {
  readonly thumbhash: Buffer;
  /** `#rrggbb`. */
  readonly dominantColor: string;
}

/** The picture that is summarised fits into this: thumbhash takes no more. */
export const summaryBox = { width: 100, height: 100, fit: 'inside' } as const;

export async function summarise(picture: Intermediate): Promise<Summary> {
  const { size } = place(picture, summaryBox);
  const { data } = await openRaw(picture, { firstFrame: true })
    .resize({ ...size, fit: 'fill' })
    .toColourspace('srgb')
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return {
    thumbhash: Buffer.from(rgbaToThumbHash(size.width, size.height, data)),
    dominantColor: dominantColor(data),
  };
}

/**
 * Mean colour of the fullest of 512 boxes (3 bits a channel), weighted by alpha: what a person would name, where the
 * mean of all pixels is mostly a brown that occurs nowhere. White for full transparency.
 */
function dominantColor(rgba: Buffer): string {
  const boxes = new Float64Array(512 * 4);
  for (let at = 0; at + 3 < rgba.length; at += 4) {
    // By index: taking each pixel apart as an array costs as much as the resize before it.
    const red = rgba[at] ?? 0;
    const green = rgba[at + 1] ?? 0;
    const blue = rgba[at + 2] ?? 0;
    const alpha = rgba[at + 3] ?? 0;
    const box = (((red >> 5) << 6) | ((green >> 5) << 3) | (blue >> 5)) * 4;
    boxes[box] = (boxes[box] ?? 0) + alpha;
    boxes[box + 1] = (boxes[box + 1] ?? 0) + red * alpha;
    boxes[box + 2] = (boxes[box + 2] ?? 0) + green * alpha;
    boxes[box + 3] = (boxes[box + 3] ?? 0) + blue * alpha;
  }
  let fullest = 0;
  for (let box = 4; box < boxes.length; box += 4) {
    if ((boxes[box] ?? 0) > (boxes[fullest] ?? 0)) fullest = box;
  }
  const weight = boxes[fullest] ?? 0;
  if (weight === 0) return '#ffffff';
  const hex = [1, 2, 3].map((c) =>
    Math.round((boxes[fullest + c] ?? 0) / weight)
      .toString(16)
      .padStart(2, '0'),
  );
  return `#${hex.join('')}`;
}
