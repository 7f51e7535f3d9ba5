import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import sharp, { type Sharp } from 'sharp';

import { decode, hasOwnProfile, openRaw, type Intermediate } from './decode.js';
import { encodeAs, encodeWithin, isAnimatable, keepsAlpha, mimeTypes, type EncodeOptions } from './encode.js';
import { exifOf, readExif } from './exif.js';
import type { Placement, Size } from './geometry.js';
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

const white = { r: 255, g: 255, b: 255, alpha: 1 };
const transparent = { r: 255, g: 255, b: 255, alpha: 0 };

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
 * CPU. A picture with a colour profile of its own that some recipes keep and others do not is decoded twice: sharp
 * converts while it decodes, and no conversion of ours would be the same. Runs in a child process.
 * @throws ImagingError
 */
export async function render(
  bytes: Buffer,
  request: Pick<RenderRequest, 'recipes' | 'outputFolder' | 'focalPoint' | 'watermarks'>,
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
  for (const { name, recipe } of wanted) {
    const path = join(request.outputFolder, `${name}.${recipe.format}`);
    try {
      images.push({ name, path, ...(await renderOne(studio, recipe, path)) });
    } catch (error) {
      if (!(error instanceof ImagingError && error.code === 'watermark-unusable')) throw error;
      failures.push({ name, code: error.code, detail: error.message });
    }
  }
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

  let image = await filtered(sized(picture, recipe, at), picture, recipe, size);
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

/** Brings the picture to the size of the result. */
function sized(picture: Intermediate, recipe: Recipe, { scaled, size, left, top }: Placement): Sharp {
  let image = openRaw(picture);
  const backdrop = recipe.background ?? white;
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
    if (size.width > scaled.width || size.height > scaled.height) {
      const padding = { left: Math.max(0, -left), top: Math.max(0, -top) };
      image = image.extend({
        ...padding,
        right: Math.max(0, size.width - scaled.width - padding.left),
        bottom: Math.max(0, size.height - scaled.height - padding.top),
        background: keepsAlpha(recipe.format) ? (recipe.background ?? transparent) : backdrop,
      });
    }
  }
  if (!keepsAlpha(recipe.format) || recipe.background !== undefined)
    image = image.flatten({ background: backdrop });
  return image;
}

function seeks({ fit, position, width, height }: Recipe): boolean {
  const chosen = position === 'attention' || position === 'entropy';
  return chosen && fit === 'cover' && width !== undefined && height !== undefined;
}

async function filtered(image: Sharp, picture: Intermediate, recipe: Recipe, size: Size): Promise<Sharp> {
  const { grayscale, blur, sharpen } = recipe;
  const result = grayscale === true ? image.grayscale() : image;
  if (blur === undefined && sharpen === undefined) return result;
  const filter = (frame: Sharp): Sharp => {
    const soft = blur === undefined ? frame : frame.blur(blur);
    return sharpen === undefined ? soft : soft.sharpen({ sigma: sharpen });
  };
  if (picture.frames === 1) return filter(result);
  // A filter would reach across the borders between the frames.
  const { data, info } = await result.raw().toBuffer({ resolveWithObject: true });
  const frames = { ...picture, ...size, data, channels: info.channels };
  return openRaw(await eachFrame(frames, size, filter));
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
