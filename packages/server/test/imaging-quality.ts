import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp, { type Sharp } from 'sharp';

import { encodeAs } from '../src/foundation/imaging/encode.js';
import { place, type Placement } from '../src/foundation/imaging/geometry.js';
import type { Recipe } from '../src/foundation/imaging/recipe.js';
import { render } from '../src/foundation/imaging/render.js';
import { resample } from './fixtures/lanczos.js';
import { lumaOf, ssim, type Plane } from './fixtures/ssim.js';

/** The variants of a usual project. */
const recipes: Readonly<Record<string, Recipe>> = {
  thumbnail: { width: 200, height: 200, fit: 'cover', format: 'webp' },
  medium: { width: 800, height: 800, fit: 'inside', format: 'webp' },
  large: { width: 1600, height: 1600, fit: 'inside', format: 'jpeg' },
  card: { width: 600, height: 400, fit: 'cover', format: 'avif' },
};

/** What the engine may lose against plain sharp, in SSIM. Measured on photos: at most 0.0004. */
export const qualityMargin = 0.002;
/** SSIM below which no variant may be, before its format loses anything. Measured on photos: 0.9983 and better. */
export const leastQuality = 0.995;

/** SSIM with the reference, of what the engine makes and of what sharp makes by itself. */
export interface Quality {
  readonly variant: string;
  readonly width: number;
  readonly height: number;
  /** Of the pixels, before a format loses anything of them. */
  readonly pixels: { readonly ours: number; readonly plain: number };
  /** Of the finished files, both with the engine's settings of the encoder. */
  readonly file: { readonly ours: number; readonly plain: number };
}

/**
 * How near four variants of a picture come to the best that can be made of it: the whole picture decoded, without
 * shrinking as it loads, and brought to the variant's size in one resampling (`resample`). Beside ours stands plain
 * sharp, a pipeline of its own for each variant with what sharp does by default. All three have the same geometry, to
 * the fraction of a pixel: SSIM punishes a shift by half a pixel more than any loss of detail.
 * @param dpr makes the variants smaller or larger.
 */
export async function measureQuality(picture: Buffer, dpr = 1): Promise<Quality[]> {
  const folder = await mkdtemp(join(tmpdir(), 'quality-'));
  try {
    const files = Object.entries(recipes).map(([name, recipe]) => ({ name, recipe: { ...recipe, dpr } }));
    const stills = files.map(({ name, recipe }) => ({ name, recipe: { ...recipe, animated: false } }));
    const pixels = files.map(({ name, recipe: { ...recipe } }) => ({
      name: `${name}-pixels`,
      recipe: { ...recipe, format: 'png' } as const,
    }));
    const request = { outputFolder: folder, recipes: [...stills, ...pixels] };
    const { images, facts } = await render(picture, request, 100_000_000);
    const pathOf = (name: string): string => images.find((image) => image.name === name)!.path;
    const whole = await lookAt(sharp(picture).autoOrient());
    const qualities: Quality[] = [];
    for (const { name, recipe } of files) {
      const at = place(facts, recipe);
      const reference = referenceOf(whole, at);
      const compare = async (image: Sharp): Promise<number> => ssim(await lookAt(image), reference);
      const { format } = recipe;
      const encoded = encodeAs(plain(picture, at), { format, pixels: at.size.width * at.size.height });
      qualities.push({
        variant: name,
        ...at.size,
        pixels: {
          ours: await compare(sharp(pathOf(`${name}-pixels`))),
          plain: await compare(plain(picture, at)),
        },
        file: {
          ours: await compare(sharp(pathOf(name))),
          plain: await compare(sharp(await encoded.toBuffer())),
        },
      });
    }
    return qualities;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function plain(picture: Buffer, { scaled, size, left, top }: Placement): Sharp {
  return sharp(picture)
    .autoOrient()
    .resize({ ...scaled, fit: 'fill' })
    .extract({ left, top, ...size });
}

function referenceOf(whole: Plane, { scaled, size, left, top }: Placement): Plane {
  const across = whole.width / scaled.width;
  const down = whole.height / scaled.height;
  const part = {
    left: left * across,
    top: top * down,
    width: size.width * across,
    height: size.height * down,
  };
  return resample(whole, part, size);
}

async function lookAt(image: Sharp): Promise<Plane> {
  const { data, info } = await image
    .flatten({ background: '#ffffff' })
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return lumaOf({ ...info, data });
}
