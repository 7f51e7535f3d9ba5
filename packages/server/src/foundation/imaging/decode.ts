import sharp, { type Sharp, type SharpOptions } from 'sharp';

import type { Size } from './geometry.js';
import type { Header } from './header.js';
import { ImagingError } from './imaging.js';
import { isSrgbProfile } from './srgb-profile.js';

/** A picture upright, in sRGB, 8 bits a channel, at the largest size that anything needs. */
export interface Intermediate {
  /** Rows from top to bottom; the frames of an animation below one another. */
  readonly data: Buffer;
  /** Of one frame. */
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  /** 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. */
  readonly channels: 1 | 2 | 3 | 4;
  /** The ICC profile whose colours these are; absent: sRGB. */
  readonly profile?: Buffer;
}

export interface DecodeOptions {
  /** Pixels of the result (of one frame), after orientation; no larger than the original. */
  readonly size: Size;
  /** All frames, or the first only. */
  readonly animated: boolean;
  readonly maxPixels: number;
  /** Leave the colours those of the original's profile; see `hasOwnProfile`. */
  readonly keepProfile?: boolean;
}

/** True for a picture whose colours are converted unless its profile is kept. Only RGB profiles can be kept. */
export function hasOwnProfile({ metadata: { space, icc } }: Header): boolean {
  return space === 'srgb' && icc !== undefined && !isSrgbProfile(icc);
}

/**
 * The one decode: shrinks while it loads where the format can, turns upright, converts to sRGB and ends in raw
 * pixels, from which every variant is made. Runs in a child process.
 * @throws ImagingError `corrupt-image`.
 */
export async function decode(bytes: Buffer, header: Header, options: DecodeOptions): Promise<Intermediate> {
  const input: SharpOptions = {
    limitInputPixels: options.maxPixels,
    // Cut or broken pictures fail; what decoders only warn of (odd padding, unknown markers) does not.
    failOn: 'error',
    animated: options.animated,
  };
  try {
    const profile = options.keepProfile === true ? header.metadata.icc : undefined;
    const picture = await shrink(bytes, header, input, options.size, profile !== undefined);
    const { data, info } = await picture.raw().toBuffer({ resolveWithObject: true });
    const frames = options.animated ? header.facts.frames : 1;
    const height = info.height / frames;
    if (!Number.isInteger(height)) throw new Error(`${frames} frames do not fill ${info.height} rows`);
    return await opaque({
      data,
      width: info.width,
      height,
      frames,
      channels: info.channels,
      ...(profile && { profile }),
    });
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split('\n', 1)[0] ?? '') : String(cause);
    throw new ImagingError('corrupt-image', `The ${header.facts.format} picture is damaged: ${why}`, {
      cause,
    });
  }
}

async function shrink(
  bytes: Buffer,
  { facts, metadata }: Header,
  input: SharpOptions,
  size: Size,
  keepProfile: boolean,
): Promise<Sharp> {
  const resize = (picture: Sharp): Sharp =>
    // autoOrient costs nothing here: shrinking while loading stays (113 ms of CPU against 105 for 24 megapixels).
    (input.animated ? picture : picture.autoOrient()).resize({
      ...size,
      fit: 'fill',
      // libwebp's own scaler is a box filter: SSIM 0.986 against the full decode.
      fastShrinkOnLoad: facts.format !== 'webp',
    });

  const { icc } = metadata;
  if (metadata.space !== 'srgb' || !icc) return resize(sharp(bytes, input));
  if (keepProfile || isSrgbProfile(icc)) return resize(sharp(bytes, { ...input, ignoreIcc: true }));
  if (input.animated) return resize(sharp(bytes, input));
  // sharp converts colours before it shrinks: 334 ms of CPU for 12 megapixels, 158 when the conversion waits for the
  // small picture. Raw pixels carry no profile, so an uncompressed PNG takes it there.
  const shrunk = await resize(sharp(bytes, { ...input, ignoreIcc: true }))
    .keepIccProfile()
    .png({ compressionLevel: 0 })
    .toBuffer();
  return sharp(shrunk, { limitInputPixels: input.limitInputPixels ?? true });
}

/** Drops an alpha channel that hides nothing (most screenshots): it costs every encoder time and bytes. */
async function opaque(picture: Intermediate): Promise<Intermediate> {
  const { channels, data } = picture;
  if (channels === 1 || channels === 3) return picture;
  for (let at = channels - 1; at < data.length; at += channels) {
    if (data[at] !== 255) return picture;
  }
  const { data: rest, info } = await openRaw(picture)
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { ...picture, data: rest, channels: info.channels };
}

/** Raw pixels as sharp's input: all frames, or the first only. */
export function openRaw(picture: Intermediate, { firstFrame = false } = {}): Sharp {
  const { width, height, channels, frames, data } = picture;
  const still = firstFrame || frames === 1;
  return sharp(still ? data.subarray(0, width * height * channels) : data, {
    raw: still
      ? { width, height, channels }
      : { width, height: height * frames, channels, pageHeight: height },
    // Without it sharp takes the strip of frames for one tall picture.
    animated: !still,
    limitInputPixels: false,
  });
}
