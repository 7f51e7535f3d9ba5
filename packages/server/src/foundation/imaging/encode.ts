import type { Sharp } from 'sharp';

import type { OutputFormat } from './recipe.js';

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

export interface EncodeOptions {
  readonly format: OutputFormat;
  readonly quality?: number | undefined;
  /** Pixels of the result, all frames. */
  readonly pixels: number;
  /** Milliseconds of each frame and number of repetitions (0: endless) of an animation. */
  readonly animation?: { readonly delay: number[]; readonly loop: number } | undefined;
}

/** Effort 4 costs twice effort 2 for 12 % fewer bytes: it pays for thumbnails, which are sent most often. */
const smallWebp = 256 * 256;

/**
 * Chooses encoder settings; each is a point of a measured curve of CPU against bytes at equal SSIM. The encoders,
 * AVIF's above all, are most of what a render costs.
 */
export function encodeAs(picture: Sharp, options: EncodeOptions): Sharp {
  const { format, quality, pixels, animation } = options;
  switch (format) {
    case 'jpeg':
      // Baseline: progressive saves 2.7 % of the bytes for 1.9 × the encode, mozjpeg 5.5 % for 8–10 ×.
      return picture.jpeg({ quality: quality ?? 80 });
    case 'png':
      // Filters save a third of a photo's bytes for 1.4 × the CPU of level 6 without; flat drawings lose 7 % by them.
      return picture.png({ compressionLevel: 4, adaptiveFiltering: true });
    case 'webp':
      return picture.webp({ quality: quality ?? 80, effort: pixels <= smallWebp ? 4 : 2, ...animation });
    case 'avif':
      // sharp's default (effort 4, 4:4:4) costs 5–9 × this, and at equal SSIM saves 12 % of the bytes.
      return picture.avif({ quality: quality ?? 50, effort: 2, chromaSubsampling: '4:2:0' });
    case 'gif':
      // Effort 2 is 0.64–0.79 of effort 4.
      return picture.gif({ effort: 2, ...animation });
  }
}
