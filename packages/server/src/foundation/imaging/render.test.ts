import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { cut, withFlippedByte } from '../../../test/fixtures/impostors.js';
import { corners, distance, meanDifference, see } from '../../../test/fixtures/looking.js';
import {
  animation,
  cmykPhoto,
  deepPhoto,
  displayP3Photo,
  encode,
  greyPhoto,
  orientedPicture,
  photo,
  photoWithPosition,
  progressivePhoto,
  screenshot,
  srgbProfilePhoto,
  transparentDisc,
} from '../../../test/fixtures/pictures.js';
import { plainPixels } from '../../../test/fixtures/pixels.js';
import { detectType } from '../media-types.js';
import { outputFormats, type Recipe } from './recipe.js';
import { render } from './render.js';

const maxPixels = 50_000_000;
const everyCorner = ['topLeft', 'topRight', 'bottomLeft', 'bottomRight'];
const medium: Recipe = { width: 400, height: 400, fit: 'inside', format: 'png' };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'render-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function renderAll(picture: Buffer, recipes: Record<string, Recipe>) {
  const request = {
    outputFolder: folder,
    recipes: Object.entries(recipes).map(([name, recipe]) => ({ name, recipe })),
  };
  return render(picture, request, maxPixels);
}

async function renderOne(picture: Buffer, recipe: Recipe = medium) {
  const result = await renderAll(picture, { one: recipe });
  const path = result.images[0]!.path;
  const seen = await see(path);
  await rm(path);
  return { ...result, seen };
}

describe('one render gives every variant', () => {
  test('in the formats and sizes asked for, with the facts of the finished files', async () => {
    const recipes = Object.fromEntries(
      outputFormats.map((format) => [format, { width: 100, height: 60, fit: 'cover', format } as const]),
    );
    const { images, facts } = await renderAll(await photo({ width: 640, height: 480 }), recipes);
    expect(facts).toEqual({
      format: 'jpeg',
      width: 640,
      height: 480,
      frames: 1,
      hasAlpha: false,
      orientation: 1,
    });
    // AVIF takes longest.
    expect(images.map((image) => image.name)).toEqual(['jpeg', 'png', 'webp', 'gif', 'avif']);
    for (const image of images) {
      const bytes = await readFile(image.path);
      expect(image).toMatchObject({ width: 100, height: 60, size: bytes.length, format: image.name });
      expect(image.sha256).toEqual(createHash('sha256').update(bytes).digest());
      expect((await detectType(bytes)).mime).toBe(image.mimeType);
      expect(await see(bytes)).toMatchObject({ width: 100, height: 60 });
    }
  });

  test('that looks as if it had been made alone, by the plain way', async () => {
    const sources = [
      await photo({ width: 1500, height: 1100 }),
      await progressivePhoto({ width: 1100, height: 1500 }),
      await photo({ width: 900, height: 900, format: 'webp' }),
      await screenshot(700, 900),
    ];
    for (const [i, source] of sources.entries()) {
      const { images } = await renderAll(source, {
        [`whole-${i}`]: { width: 600, height: 600, fit: 'inside', format: 'png' },
        [`cover-${i}`]: { width: 150, height: 150, fit: 'cover', format: 'png' },
      });
      for (const image of images) {
        const fit = image.name.startsWith('whole') ? 'inside' : 'cover';
        const { width, height } = image;
        const plain = await sharp(source).resize({ width, height, fit }).png().toBuffer();
        // Strokes of one pixel on white are the worst case for two resamplings; photos stay under 1.
        expect(meanDifference(await see(image.path), await see(plain))).toBeLessThan(i === 3 ? 4 : 1);
      }
    }
  });

  test('and what stands in for the picture: thumbhash, colour, EXIF without the place', async () => {
    const red = await encode(plainPixels(300, 200, [200, 20, 30]), 'png');
    const { thumbhash, dominantColor, exif } = await renderOne(red);
    expect(dominantColor).toBe('#c8141e');
    expect(thumbhash.length).toBeGreaterThanOrEqual(5);
    expect(thumbhash.length).toBeLessThanOrEqual(25);
    expect(exif).toBeNull();
    const located = await renderOne(await photoWithPosition({ width: 200, height: 150 }));
    expect(located.exif).toMatchObject({ cameraModel: 'Arithmetic 1', takenAt: '2024-05-17T09:30:15' });
    expect(JSON.stringify(located.exif)).not.toMatch(/gps|latitude|longitude|nobody/i);
  });

  test('never larger than the original', async () => {
    const { images } = await renderAll(await photo({ width: 90, height: 60 }), {
      inside: { width: 800, height: 800, fit: 'inside', format: 'jpeg' },
      cover: { width: 200, height: 200, fit: 'cover', format: 'jpeg' },
    });
    expect(images.map(({ width, height }) => [width, height])).toEqual([
      [90, 60],
      [60, 60],
    ]);
  });

  test('without any metadata', async () => {
    const source = await photoWithPosition({ width: 300, height: 200 });
    expect((await sharp(source).metadata()).exif).toBeDefined();
    const recipes = Object.fromEntries(
      outputFormats.map((format) => [format, { width: 100, fit: 'inside', format } as const]),
    );
    for (const image of (await renderAll(source, recipes)).images) {
      const { exif, xmp, iptc, icc, orientation } = await sharp(image.path).metadata();
      expect([exif, xmp, iptc, icc, orientation]).toEqual(Array(5).fill(undefined));
      expect((await readFile(image.path)).toString('latin1')).not.toMatch(/GPS|Arithmetic|Generated/);
    }
  });

  test('of a picture of one pixel', async () => {
    const pixel = await encode(plainPixels(1, 1, [1, 2, 3]), 'png');
    const recipes = Object.fromEntries(
      outputFormats.map((format) => [format, { width: 100, height: 60, fit: 'cover', format } as const]),
    );
    const { images } = await renderAll(pixel, recipes);
    expect(images.every(({ width, height }) => width === 1 && height === 1)).toBe(true);
  });
});

describe('pictures stand upright', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('with EXIF orientation %i', async (orientation) => {
    const source = await orientedPicture(orientation, { width: 600, height: 400 });
    const { facts, seen } = await renderOne(source, { width: 150, fit: 'inside', format: 'png' });
    expect(facts).toMatchObject({ width: 600, height: 400, orientation });
    expect(seen).toMatchObject({ width: 150, height: 100 });
    expect(corners(seen)).toEqual(everyCorner);
  });

  test.each(['webp', 'png'] as const)('in a %s that says it lies on its side', async (format) => {
    const { seen } = await renderOne(await orientedPicture(6, { format }));
    expect([seen.width, seen.height]).toEqual([120, 80]);
    expect(corners(seen)).toEqual(everyCorner);
  });

  test('and are cut in the middle of what a person sees', async () => {
    const { seen } = await renderOne(await orientedPicture(8, { width: 400, height: 100 }), {
      width: 100,
      height: 100,
      fit: 'cover',
      format: 'png',
    });
    expect(corners(seen)).toEqual(everyCorner);
  });
});

describe('colours are those that a full conversion gives', () => {
  const size = { width: 640, height: 480 };
  test.each<[string, () => Promise<Buffer>, number]>([
    ['CMYK', () => cmykPhoto(size), 1.5],
    ['16 bits', () => deepPhoto(size), 1],
    ['Display P3', () => displayP3Photo(size), 1.5],
    ['Display P3 in a WebP', () => displayP3Photo({ ...size, format: 'webp' }), 1.5],
    ['an sRGB profile', () => srgbProfilePhoto(size), 1],
    ['grey', () => greyPhoto(size), 1],
  ])('%s', async (_, make, tolerance) => {
    const source = await make();
    const { seen } = await renderOne(source, { width: 320, fit: 'inside', format: 'png' });
    const reference = await see(await sharp(source).resize({ width: 320 }).png().toBuffer());
    expect(meanDifference(seen, reference)).toBeLessThan(tolerance);
  });

  test('Display P3 is not taken for sRGB', async () => {
    const profile = 'p3';
    const source = await sharp({ create: { ...size, channels: 3, background: { r: 220, g: 40, b: 40 } } })
      .withIccProfile(profile)
      .png()
      .toBuffer();
    const { seen } = await renderOne(source);
    expect(distance(seen.at(0.5, 0.5), [220, 40, 40])).toBeLessThanOrEqual(2);
    const ignored = await sharp(source, { ignoreIcc: true }).raw().toBuffer();
    expect(distance([...ignored.subarray(0, 3)], [220, 40, 40])).toBeGreaterThan(10);
  });
});

describe('transparency', () => {
  test('stays where the format can hold it, and becomes white in a JPEG', async () => {
    const disc = await transparentDisc(200, [200, 40, 60]);
    for (const format of ['png', 'webp', 'avif', 'gif'] as const) {
      const { seen, facts } = await renderOne(disc, { width: 100, fit: 'inside', format });
      expect(facts.hasAlpha).toBe(true);
      expect(seen.at(0, 0)[3]).toBeLessThan(10);
      expect(distance(seen.at(0.5, 0.5), [200, 40, 60, 255])).toBeLessThan(12);
    }
    const { seen } = await renderOne(disc, { width: 100, fit: 'inside', format: 'jpeg' });
    expect(distance(seen.at(0, 0), [255, 255, 255, 255])).toBeLessThan(6);
    expect(distance(seen.at(0.5, 0.5), [200, 40, 60, 255])).toBeLessThan(12);
  });

  test('fills what contain leaves free; a JPEG has white there', async () => {
    const source = await encode(plainPixels(300, 100, [10, 120, 60]), 'png');
    const box = { width: 90, height: 90, fit: 'contain' } as const;
    const png = await renderOne(source, { ...box, format: 'png' });
    expect([png.seen.width, png.seen.height]).toEqual([90, 90]);
    expect(png.seen.at(0.5, 0.05)[3]).toBe(0);
    expect(distance(png.seen.at(0.5, 0.5), [10, 120, 60, 255])).toBeLessThan(3);
    const jpeg = await renderOne(source, { ...box, format: 'jpeg' });
    expect(distance(jpeg.seen.at(0.5, 0.95), [255, 255, 255])).toBeLessThan(4);
  });

  test('that hides nothing is dropped', async () => {
    const opaque = await sharp(await photo({ width: 60, height: 40 }))
      .ensureAlpha()
      .png()
      .toBuffer();
    const { images } = await renderAll(opaque, { one: { width: 30, fit: 'inside', format: 'webp' } });
    expect((await sharp(images[0]!.path).metadata()).hasAlpha).toBe(false);
  });
});

describe('an animation', () => {
  test.each(['gif', 'webp'] as const)('in a %s keeps its frames where the format can', async (format) => {
    const source = await animation({ width: 120, height: 90, frames: 5, format });
    const { facts, images: made } = await renderAll(source, {
      gif: { width: 60, height: 60, fit: 'cover', format: 'gif' },
      webp: { width: 60, height: 60, fit: 'contain', format: 'webp' },
      jpeg: { width: 60, height: 60, fit: 'inside', format: 'jpeg' },
      avif: { width: 60, height: 60, fit: 'inside', format: 'avif' },
    });
    expect(facts).toMatchObject({ width: 120, height: 90, frames: 5 });
    // Animations take longest, so they come last.
    const images = ['gif', 'webp', 'jpeg', 'avif'].map((name) => made.find((image) => image.name === name)!);
    const frames = await Promise.all(
      images.map(async ({ path }) => (await sharp(path).metadata()).pages ?? 1),
    );
    expect(frames).toEqual([5, 5, 1, 1]);
    expect(images.map(({ width, height }) => [width, height])).toEqual([
      [60, 60],
      [60, 60],
      [60, 45],
      [60, 45],
    ]);
    const last = await sharp(images[0]!.path, { page: 4 }).png().toBuffer();
    const wanted = await sharp(source, { page: 4 }).resize(60, 60).png().toBuffer();
    expect(meanDifference(await see(last), await see(wanted))).toBeLessThan(8);
    expect((await sharp(images[1]!.path).metadata()).delay).toEqual([100, 100, 100, 100, 100]);
  });

  test('shows its first frame where only stills are wanted', async () => {
    const source = await animation({ width: 80, height: 60, frames: 3 });
    const { seen } = await renderOne(source, { width: 80, fit: 'inside', format: 'png' });
    expect(meanDifference(seen, await see(source))).toBe(0);
  });
});

describe('damaged pictures are refused', () => {
  const formats = ['jpeg', 'png', 'webp', 'gif', 'avif'] as const;
  test.each(formats)('a %s that ends after a tenth, a half or 99 hundredths', async (format) => {
    const whole = await photo({ width: 320, height: 240, format });
    for (const share of [0.1, 0.5, 0.99]) {
      await expect(renderOne(cut(whole, share))).rejects.toMatchObject({
        code: 'corrupt-image',
        permanent: true,
      });
    }
  });

  test.each(formats)('a %s with one byte flipped is a picture or corrupt, nothing else', async (format) => {
    const whole = await photo({ width: 160, height: 120, format });
    for (let part = 1; part < 16; part++) {
      const broken = withFlippedByte(whole, Math.floor((whole.length * part) / 16));
      const outcome = await renderOne(broken).then(
        () => 'rendered',
        (error: unknown) => (error as { code: string }).code,
      );
      expect(['rendered', 'corrupt-image']).toContain(outcome);
    }
  });

  test('and leave no file behind', async () => {
    const whole = await photo({ width: 320, height: 240 });
    await expect(renderAll(cut(whole, 0.5), { one: medium })).rejects.toThrow(/damaged/);
    await expect(readFile(join(folder, 'one.png'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
