import sharp, { type OverlayOptions } from 'sharp';

import { corner, type Size } from './geometry.js';
import { ImagingError } from './imaging.js';
import type { Watermark } from './recipe.js';

const standard = { position: 'bottom-right', opacity: 0.5, scale: 0.25 } as const;
/** Distance from the edge as a part of the result's shorter side. */
const margin = 0.02;

/**
 * Decodes a watermark and sizes it for a result.
 * @param size of the result, of one frame.
 * @returns what to lay over each frame; the frames stand below one another.
 * @throws ImagingError `watermark-unusable` when it is no picture that can be decoded.
 */
export async function overlaysOf(
  bytes: Buffer,
  watermark: Watermark,
  size: Size,
  { frames, maxPixels }: { readonly frames: number; readonly maxPixels: number },
): Promise<OverlayOptions[]> {
  const { position, opacity, scale } = { ...standard, ...watermark };
  const away = Math.round(Math.min(size.width, size.height) * margin);
  const room = { width: size.width - 2 * away, height: size.height - 2 * away };
  if (room.width < 1 || room.height < 1) return [];
  const { data, info } = await readMark(bytes, opacity, maxPixels, {
    width: Math.min(room.width, Math.max(1, Math.round(size.width * scale))),
    height: room.height,
  });
  const { left, top } = corner(room, info, position);
  return Array.from({ length: frames }, (_, frame) => ({
    input: data,
    raw: { width: info.width, height: info.height, channels: info.channels },
    left: left + away,
    top: top + away + frame * size.height,
  }));
}

async function readMark(bytes: Buffer, opacity: number, maxPixels: number, box: Size) {
  try {
    return await sharp(bytes, { limitInputPixels: maxPixels, failOn: 'error' })
      .autoOrient()
      .resize({ ...box, fit: 'inside' })
      .toColourspace('srgb')
      .ensureAlpha()
      .composite([
        {
          // Multiplies the alpha channel everywhere.
          input: Buffer.from([255, 255, 255, Math.round(255 * opacity)]),
          raw: { width: 1, height: 1, channels: 4 },
          tile: true,
          blend: 'dest-in',
        },
      ])
      .raw()
      .toBuffer({ resolveWithObject: true });
  } catch (cause) {
    throw new ImagingError(
      'watermark-unusable',
      'The picture that is to be the watermark cannot be decoded.',
      {
        cause,
      },
    );
  }
}
