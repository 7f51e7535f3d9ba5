import type { AskedRecipe, OutputFormat, Recipe } from './recipe.js';

/** The picture that formats are chosen for. */
export interface Original {
  /** Detected from the bytes: `image/png`. */
  readonly mimeType: string;
  /** Null before its first decode. */
  readonly frames: number | null;
}

/** What is encoded for clients that name no newer format: the original's own, or one that loses nothing of its kind. */
const ownFormats: Readonly<Record<string, OutputFormat>> = {
  'image/png': 'png',
  'image/gif': 'gif',
  'image/webp': 'webp',
  'image/avif': 'avif',
  'image/svg+xml': 'png',
};

/**
 * The formats that `auto` stands for, best first; the last one is for everybody. AVIF is left out where a still would
 * take the place of an animation.
 */
export function autoFormats({ mimeType, frames }: Original, keepsFrames: boolean): readonly OutputFormat[] {
  const own = ownFormats[mimeType] ?? 'jpeg';
  // Before the first decode nobody knows.
  const moves = (own === 'gif' || own === 'webp') && frames !== 1;
  const better: readonly OutputFormat[] = moves && keepsFrames ? ['webp'] : ['avif', 'webp'];
  return [...better.filter((format) => format !== own), own];
}

/**
 * AVIF's quality scale is another one: at 50 it looks as JPEG and WebP do at 80 (the measured defaults in encode.ts), and
 * both ends of the scales meet.
 */
function avifQuality(quality: number): number {
  const alike = quality <= 80 ? (quality * 50) / 80 : 50 + ((quality - 80) * 50) / 20;
  return Math.max(1, Math.round(alike));
}

/** The recipe in one of the formats that it may have; what that format does not know is left out. */
export function concrete(asked: AskedRecipe, format: OutputFormat): Recipe {
  if (asked.format !== 'auto') return { ...asked, format: asked.format };
  const { quality, maxBytes, keepIcc, ...rest } = asked;
  const hasQuality = format !== 'png' && format !== 'gif';
  return {
    ...rest,
    format,
    ...(quality === undefined || !hasQuality
      ? {}
      : { quality: format === 'avif' ? avifQuality(quality) : quality }),
    ...(maxBytes === undefined || !hasQuality ? {} : { maxBytes }),
    ...(keepIcc === undefined || format === 'gif' ? {} : { keepIcc }),
  };
}
