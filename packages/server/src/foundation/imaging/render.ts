import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { decode, openRaw, type Intermediate } from './decode.js';
import { encodeAs, isAnimatable, keepsAlpha, mimeTypes } from './encode.js';
import { readExif } from './exif.js';
import { neededSize, place, type Placement } from './geometry.js';
import { readHeader, type Header } from './header.js';
import type { RenderedImage, RenderRequest, RenderResult } from './imaging.js';
import type { Recipe } from './recipe.js';
import { summarise, summaryBox } from './summary.js';

const white = { r: 255, g: 255, b: 255, alpha: 1 };
const transparent = { r: 255, g: 255, b: 255, alpha: 0 };

/**
 * Makes all variants of a picture from one decode, one after another: side by side they cost more memory and no less
 * CPU. No metadata of the original gets into a variant. Runs in a child process.
 * @throws ImagingError
 */
export async function render(
  bytes: Buffer,
  request: Pick<RenderRequest, 'recipes' | 'outputFolder'>,
  maxPixels: number,
): Promise<RenderResult> {
  const header = await readHeader(bytes, maxPixels);
  const { facts } = header;
  const plans = request.recipes.map(({ name, recipe }) => ({ name, recipe, at: place(facts, recipe) }));
  const picture = await decode(bytes, header, {
    size: neededSize([place(facts, summaryBox), ...plans.map((plan) => plan.at)]),
    animated: isAnimated(header) && plans.some(({ recipe }) => isAnimatable(recipe.format)),
    maxPixels,
  });

  const summary = await summarise(picture);
  const images: RenderedImage[] = [];
  for (const { name, recipe, at } of plans) {
    const path = join(request.outputFolder, `${name}.${recipe.format}`);
    images.push({ name, path, ...(await renderOne(picture, header, recipe, at, path)) });
  }
  return { facts, ...summary, exif: await readExif(header.metadata.exif), images };
}

/** Frames are not turned: an animation with an orientation (nobody makes them) is shown as its first frame. */
function isAnimated({ facts }: Header): boolean {
  return facts.frames > 1 && facts.orientation === 1;
}

async function renderOne(
  picture: Intermediate,
  { metadata }: Header,
  recipe: Recipe,
  { scaled, size, left, top }: Placement,
  path: string,
): Promise<Omit<RenderedImage, 'name' | 'path'>> {
  const animated = picture.frames > 1 && isAnimatable(recipe.format);
  const frames = animated ? picture.frames : 1;
  let image = openRaw(picture, { firstFrame: !animated });
  if (scaled.width !== picture.width || scaled.height !== picture.height) {
    // Exact sizes from the original's: two roundings in a row would be off by one.
    image = image.resize({ ...scaled, fit: 'fill' });
  }
  if (size.width < scaled.width || size.height < scaled.height) {
    const cut = { left: Math.max(0, left), top: Math.max(0, top) };
    image = image.extract({
      ...cut,
      width: Math.min(size.width, scaled.width),
      height: Math.min(size.height, scaled.height),
    });
  }
  if (size.width > scaled.width || size.height > scaled.height) {
    const padding = { left: Math.max(0, -left), top: Math.max(0, -top) };
    image = image.extend({
      ...padding,
      right: size.width - scaled.width - padding.left,
      bottom: size.height - scaled.height - padding.top,
      background: keepsAlpha(recipe.format) ? transparent : white,
    });
  }
  if (!keepsAlpha(recipe.format)) image = image.flatten({ background: white });

  const encoded = await encodeAs(image, {
    format: recipe.format,
    quality: recipe.quality,
    pixels: size.width * size.height * frames,
    animation: animated ? { delay: metadata.delay ?? [], loop: metadata.loop ?? 0 } : undefined,
  }).toBuffer();
  // 'wx': an output folder that is not empty is a fault of the caller's.
  await writeFile(path, encoded, { flag: 'wx' });
  return {
    format: recipe.format,
    mimeType: mimeTypes[recipe.format],
    ...size,
    size: encoded.length,
    sha256: createHash('sha256').update(encoded).digest(),
  };
}
