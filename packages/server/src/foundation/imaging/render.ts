import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import sharp, { type Sharp } from 'sharp';

import { backdropOf, pixelOf, transparent } from './backdrop.js';
import { decode, hasOwnProfile, openRaw, type Intermediate } from './decode.js';
import { encodeAs, encodeWithin, isAnimatable, mimeTypes, type EncodeOptions } from './encode.js';
import { exifOf, readExif } from './exif.js';
import type { Placement, Size } from './geometry.js';
import { greyed } from './grey.js';
import { readHeader, type Header } from './header.js';
import {
  ImagingError,
  type ExifFacts,
  type RenderedImage,
  type RenderRequest,
  type RenderResult,
} from './imaging.js';
import { decodeSize, placeShaped } from './plan.js';
import { wrapAsPng } from './png.js';
import type { Recipe } from './recipe.js';
import { eachFrame, isUnshaped, shape } from './shape.js';
import { summarise } from './summary.js';
import { magnified, magnifyRecipe } from './vector.js';
import { overlaysOf } from './watermark.js';

/**
 * Height at which the bell of a blur is cut off. At sharp's own 0.2 its standard deviation is 0.82 of the one asked for,
 * and below 0.56 nothing is blurred; here it is 0.97. Of 2 megapixels a blur of 20 costs 22 ms of CPU instead of 15.
 */
const minAmplitude = 0.02;

/** What all recipes of a render share. */
interface Studio {
  readonly header: Header;
  readonly exif: ExifFacts | null;
  readonly focalPoint: RenderRequest['focalPoint'];
  readonly watermarks: RenderRequest['watermarks'];
  readonly maxPixels: number;
  /** The decoded picture, in its own colours for recipes that keep them. */
  pictureFor(recipe: Recipe): Promise<Intermediate>;
}

/**
 * Makes all variants of a picture from one decode, one after another: side by side they cost more memory and no less
 * CPU. Quick formats come first: AVIF, animations and searches for a size take most of the time. A picture with a colour profile of its own that some recipes keep and others do not is decoded twice: sharp
 * converts while it decodes, and no conversion of ours would be the same. Runs in a child process.
 * @throws ImagingError
 */
export async function render(
  bytes: Buffer,
  request: Pick<RenderRequest, 'recipes' | 'outputFolder' | 'focalPoint' | 'watermarks' | 'onQuick'>,
  maxPixels: number,
): Promise<RenderResult> {
  const original = await readHeader(bytes, maxPixels);
  const header = enlargeDrawing(original, maxPixels);
  const wanted = request.recipes.map(({ name, recipe }) => ({
    name,
    recipe: magnifyRecipe(recipe, original.facts, header.facts),
  }));
  const recipes = wanted.map(({ recipe }) => recipe);
  const size = decodeSize(header.facts, recipes);
  const animated = isAnimated(header) && recipes.some(keepsFrames);
  const develop = (keepProfile: boolean) => decode(bytes, header, { size, animated, maxPixels, keepProfile });
  const picture = await develop(false);
  let own: Promise<Intermediate> | undefined;

  const exif = await readExif(header.metadata.exif);
  const studio: Studio = {
    header,
    exif,
    focalPoint: request.focalPoint,
    watermarks: request.watermarks,
    maxPixels,
    pictureFor: async (recipe) =>
      recipe.keepIcc === true && !animated && hasOwnProfile(header) ? await (own ??= develop(true)) : picture,
  };
  const summary = await summarise(picture);
  const images: RenderedImage[] = [];
  const failures: RenderResult['failures'][number][] = [];
  const make = async (list: typeof wanted): Promise<void> => {
    for (const { name, recipe } of list) {
      const path = join(request.outputFolder, `${name}.${recipe.format}`);
      try {
        images.push({ name, path, ...(await renderOne(studio, recipe, path)) });
      } catch (error) {
        if (!(error instanceof ImagingError && error.code === 'watermark-unusable')) throw error;
        failures.push({ name, code: error.code, detail: error.message });
      }
    }
  };
  const isSlow = ({ recipe }: (typeof wanted)[number]): boolean =>
    recipe.format === 'avif' || recipe.maxBytes !== undefined || (animated && keepsFrames(recipe));
  const slow = wanted.filter(isSlow);
  await make(wanted.filter((one) => !isSlow(one)));
  if (slow.length > 0 && images.length > 0) request.onQuick?.([...images]);
  await make(slow);
  return { facts: original.facts, ...summary, exif, images, failures };
}

function enlargeDrawing(header: Header, maxPixels: number): Header {
  const { facts } = header;
  return facts.format === 'svg' ? { ...header, facts: { ...facts, ...magnified(facts, maxPixels) } } : header;
}

/** Frames are not turned: an animation with an orientation (nobody makes them) is shown as its first frame. */
function isAnimated({ facts }: Header): boolean {
  return facts.frames > 1 && facts.orientation === 1;
}

function keepsFrames({ format, animated }: Recipe): boolean {
  return isAnimatable(format) && animated !== false;
}

async function renderOne(
  studio: Studio,
  recipe: Recipe,
  path: string,
): Promise<Omit<RenderedImage, 'name' | 'path'>> {
  const { facts, metadata } = studio.header;
  const decoded = await studio.pictureFor(recipe);
  const animated = decoded.frames > 1 && keepsFrames(recipe);
  const chosen = animated ? decoded : firstOf(decoded);
  const picture = isUnshaped(recipe) ? chosen : await shape(chosen, facts, recipe);
  const at = placeShaped(facts, picture, recipe, studio.focalPoint);
  const { size } = at;

  let image = await filtered(await sized(picture, recipe, at), picture, recipe, size);
  if (recipe.watermark) {
    const mark = await readMark(studio, recipe.watermark.fileId);
    const { maxPixels } = studio;
    image = image.composite(
      await overlaysOf(mark, recipe.watermark, size, { frames: picture.frames, maxPixels }),
    );
  }

  const options: EncodeOptions = {
    format: recipe.format,
    quality: recipe.quality,
    effort: recipe.effort,
    lossless: recipe.lossless,
    pixels: size.width * size.height * picture.frames,
    animation: animated ? { delay: metadata.delay ?? [], loop: metadata.loop ?? 0 } : undefined,
  };
  const encoded = await finish(image, picture, recipe, options, studio.exif);
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

function firstOf(picture: Intermediate): Intermediate {
  const { width, height, channels, frames, data } = picture;
  return frames === 1
    ? picture
    : { ...picture, frames: 1, data: data.subarray(0, width * height * channels) };
}

/** Brings the picture to the size of the result, and lays what it is to stand on under it. */
async function sized(picture: Intermediate, recipe: Recipe, at: Placement): Promise<Sharp> {
  const { scaled, size, left, top } = at;
  const backdrop = backdropOf(recipe);
  const solid = backdrop?.alpha === 1 ? backdrop : undefined;
  const padded = size.width > scaled.width || size.height > scaled.height;
  let image = openRaw(picture);
  if (seeks(recipe) && picture.frames === 1) {
    // Looked for in the picture as it was decoded; sharp sizes and cuts it by what it finds.
    image = image.resize({ ...size, fit: 'cover', position: recipe.position });
  } else {
    if (scaled.width !== picture.width || scaled.height !== picture.height) {
      // Exact sizes from the original's: two roundings in a row would be off by one.
      image = image.resize({ ...scaled, fit: 'fill' });
    }
    if (size.width < scaled.width || size.height < scaled.height) {
      image = image.extract({
        left: Math.max(0, left),
        top: Math.max(0, top),
        width: Math.min(size.width, scaled.width),
        height: Math.min(size.height, scaled.height),
      });
    }
    if (padded) {
      const padding = { left: Math.max(0, -left), top: Math.max(0, -top) };
      image = image.extend({
        ...padding,
        right: Math.max(0, size.width - scaled.width - padding.left),
        bottom: Math.max(0, size.height - scaled.height - padding.top),
        background: solid ?? transparent,
      });
    }
  }
  if (solid) return image.flatten({ background: solid });
  const hidesAll = !padded && (picture.channels === 1 || picture.channels === 3);
  if (!backdrop || hidesAll) return image;
  // sharp flattens onto a translucent colour as if it were opaque, and composes only after it has filtered.
  const under = { input: pixelOf(backdrop), raw: { width: 1, height: 1, channels: 4 }, tile: true } as const;
  return openRaw(await finished(image.composite([{ ...under, blend: 'dest-over' }]), picture, size));
}

/** The pixels so far: what follows is not mixed with it in sharp's own order of steps. */
async function finished(image: Sharp, picture: Intermediate, size: Size): Promise<Intermediate> {
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  return { ...picture, ...size, data, channels: info.channels };
}

function seeks({ fit, position, width, height }: Recipe): boolean {
  const chosen = position === 'attention' || position === 'entropy';
  return chosen && fit === 'cover' && width !== undefined && height !== undefined;
}

async function filtered(image: Sharp, picture: Intermediate, recipe: Recipe, size: Size): Promise<Sharp> {
  const { grayscale, blur, sharpen } = recipe;
  const result = grayscale === true ? openRaw(await greyed(await finished(image, picture, size))) : image;
  if (blur === undefined && sharpen === undefined) return result;
  const filter = (frame: Sharp): Sharp => {
    const soft = blur === undefined ? frame : frame.blur({ sigma: blur, minAmplitude });
    return sharpen === undefined ? soft : soft.sharpen({ sigma: sharpen });
  };
  if (picture.frames === 1) return filter(result);
  // A filter would reach across the borders between the frames.
  return openRaw(await eachFrame(await finished(result, picture, size), size, filter));
}

async function readMark({ watermarks }: Studio, fileId: string): Promise<Buffer> {
  const path = watermarks?.[fileId];
  if (path !== undefined) return readFile(path);
  throw new ImagingError(
    'watermark-unusable',
    'The picture that is to be the watermark is not among the project’s pictures.',
  );
}

/** Encodes; with what a recipe keeps of the original beside its pixels. */
async function finish(
  image: Sharp,
  { profile, frames }: Intermediate,
  { maxBytes, stripMetadata }: Recipe,
  options: EncodeOptions,
  exif: ExifFacts | null,
): Promise<Buffer> {
  const tag = (result: Sharp): Sharp =>
    stripMetadata === false && frames === 1 ? result.withExif(exifOf(exif)) : result;
  if (profile === undefined && maxBytes === undefined) return encodeAs(tag(image), options).toBuffer();
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  const pixels = { width: info.width, height: info.height / frames, frames, channels: info.channels, data };
  const carrier = profile && wrapAsPng(pixels, data, profile);
  const open = (): Sharp =>
    tag(
      carrier
        ? sharp(carrier, { ignoreIcc: true, limitInputPixels: false }).keepIccProfile()
        : openRaw(pixels),
    );
  return maxBytes === undefined
    ? encodeAs(open(), options).toBuffer()
    : encodeWithin(open, options, maxBytes);
}
