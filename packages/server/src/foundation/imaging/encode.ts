import type { Sharp } from 'sharp';

import type { OutputFormat, Recipe } from './recipe.js';

export const mimeTypes: Readonly<Record<OutputFormat, string>> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  webp: 'image/webp',
  avif: 'image/avif',
  gif: 'image/gif',
};

/** Formats that can hold an animation. */
export function isAnimatable(format: OutputFormat): boolean {
  return format === 'webp' || format === 'gif';
}

export function keepsAlpha(format: OutputFormat): boolean {
  return format !== 'jpeg';
}

/** Qualities when a recipe names none; of formats that have one. */
const standardQuality: Readonly<Record<OutputFormat, number>> = {
  jpeg: 80,
  webp: 80,
  avif: 50,
  png: 100,
  gif: 100,
};
/** Below it pictures fall apart; a limit of bytes does not go there. */
const leastQuality = 20;
/** Halvings of the range of qualities: 6 leave one of 80. */
const mostTries = 6;

export interface EncodeOptions extends Pick<Recipe, 'format' | 'quality' | 'effort' | 'lossless'> {
  /** Pixels of the result, all frames. */
  readonly pixels: number;
  /** Milliseconds of each frame and number of repetitions (0: endless) of an animation. */
  readonly animation?: { readonly delay: number[]; readonly loop: number } | undefined;
}

/** Effort 4 costs twice effort 2 for 12 % fewer bytes: it pays for thumbnails, which are sent most often. */
const smallWebp = 256 * 256;

/**
 * Chooses encoder settings; each default is a point of a measured curve of CPU against bytes at equal SSIM. The
 * encoders, AVIF's above all, are most of what a render costs.
 */
export function encodeAs(picture: Sharp, options: EncodeOptions): Sharp {
  const { format, effort, pixels, animation, lossless = false } = options;
  const quality = options.quality ?? standardQuality[format];
  switch (format) {
    case 'jpeg':
      // Baseline: progressive saves 2.7 % of the bytes for 1.9 × the encode, mozjpeg 5.5 % for 8–10 ×.
      return picture.jpeg({ quality });
    case 'png':
      // Filters save a third of a photo's bytes for 1.4 × the CPU of level 6 without; flat drawings lose 7 % by them.
      return picture.png({ compressionLevel: effort ?? 4, adaptiveFiltering: true });
    case 'webp':
      return picture.webp({
        quality,
        lossless,
        effort: effort ?? (pixels <= smallWebp ? 4 : 2),
        ...animation,
      });
    case 'avif':
      // sharp's default (effort 4, 4:4:4) costs 5–9 × this, and at equal SSIM saves 12 % of the bytes.
      return picture.avif({
        quality,
        lossless,
        effort: effort ?? 2,
        chromaSubsampling: lossless ? '4:4:4' : '4:2:0',
      });
    case 'gif':
      // Effort 2 is 0.64–0.79 of effort 4.
      return picture.gif({ effort: Math.max(1, effort ?? 2), ...animation });
  }
}

/**
 * Encodes with the best quality, from the recipe's own down to 20, at which the result has at most `maxBytes`; at
 * 20 when none is small enough.
 * @param open gives the finished pixels anew for each try.
 */
export async function encodeWithin(
  open: () => Sharp,
  options: EncodeOptions,
  maxBytes: number,
): Promise<Buffer> {
  const encode = (quality: number) => encodeAs(open(), { ...options, quality }).toBuffer();
  const wanted = options.quality ?? standardQuality[options.format];
  const first = await encode(wanted);
  if (first.length <= maxBytes || wanted <= leastQuality) return first;
  let fitting: Buffer | undefined;
  let low = leastQuality;
  let high = wanted - 1;
  for (let tries = 0; tries < mostTries && low <= high; tries++) {
    const quality = Math.floor((low + high) / 2);
    const encoded = await encode(quality);
    if (encoded.length <= maxBytes) {
      fitting = encoded;
      low = quality + 1;
    } else {
      high = quality - 1;
    }
  }
  return fitting ?? (await encode(leastQuality));
}
