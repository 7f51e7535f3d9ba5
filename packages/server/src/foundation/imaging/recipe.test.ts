import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { corners, distance, meanDifference, see } from '../../../test/fixtures/looking.js';
import {
  animation,
  displayP3Photo,
  encode,
  orientedPicture,
  photo,
  photoWithPosition,
  transparentDisc,
} from '../../../test/fixtures/pictures.js';
import { compassPixels, plainPixels, type RawPicture } from '../../../test/fixtures/pixels.js';
import type { Recipe } from './recipe.js';
import { render } from './render.js';

const upright = {
  topLeft: 'topLeft',
  topRight: 'topRight',
  bottomLeft: 'bottomLeft',
  bottomRight: 'bottomRight',
};
const whole: Recipe = { width: 600, height: 600, fit: 'inside', format: 'png' };
const mark = '0190a5f0-0000-7000-8000-000000000001';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'recipe-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function made(picture: Buffer, recipe: Recipe, more: Partial<Parameters<typeof render>[1]> = {}) {
  const result = await render(
    picture,
    { outputFolder: folder, recipes: [{ name: 'one', recipe }], ...more },
    50_000_000,
  );
  const { path } = result.images[0]!;
  const seen = await see(path);
  const metadata = await sharp(path).metadata();
  const { size } = await stat(path);
  await rm(path);
  return { seen, metadata, size, image: result.images[0]! };
}

const compass = (width = 600, height = 400) => encode(compassPixels(width, height), 'png');

/** A picture with one square of another colour. */
function spot(width: number, height: number, at: { x: number; y: number; side: number }): RawPicture {
  const picture = plainPixels(width, height, [250, 250, 250]);
  for (let y = at.y; y < at.y + at.side; y++) {
    for (let x = at.x; x < at.x + at.side; x++) picture.data.set([200, 20, 40], (y * width + x) * 3);
  }
  return picture;
}

describe('a crop', () => {
  test('takes a rectangle of the upright original, at the detail the original has', async () => {
    const source = await encode(spot(4000, 3000, { x: 2000, y: 1000, side: 400 }), 'png');
    const crop = { left: 2000, top: 1000, width: 400, height: 400 };
    const { seen } = await made(source, { ...whole, crop, width: 400, height: 400 });
    expect([seen.width, seen.height]).toEqual([400, 400]);
    for (const at of [0.005, 0.5, 0.995]) {
      expect(distance(seen.at(at, at), [200, 20, 40, 255])).toBeLessThan(4);
    }
  });

  test('counts from what a person sees, not from how the camera was held', async () => {
    const source = await orientedPicture(6, { width: 600, height: 400 });
    const crop = { left: 300, top: 0, width: 300, height: 200 };
    const { seen } = await made(source, { ...whole, crop });
    expect([seen.width, seen.height]).toEqual([300, 200]);
    expect(new Set(corners(seen))).toEqual(new Set(['topRight']));
  });

  test('that reaches over the edge takes what is there; one that lies beside takes all', async () => {
    const over = await made(await compass(), {
      ...whole,
      crop: { left: 450, top: 300, width: 900, height: 900 },
    });
    expect([over.seen.width, over.seen.height]).toEqual([150, 100]);
    const beside = await made(await compass(), {
      ...whole,
      crop: { left: 900, top: 0, width: 10, height: 10 },
    });
    expect([beside.seen.width, beside.seen.height]).toEqual([600, 400]);
  });

  test('cuts every frame of an animation', async () => {
    const source = await animation({ width: 120, height: 90, frames: 4 });
    const crop = { left: 60, top: 30, width: 60, height: 60 };
    const { metadata } = await made(source, { ...whole, crop, width: 30, height: 30, format: 'webp' });
    expect([metadata.pages, metadata.width, metadata.height]).toEqual([4, 30, 30]);
  });
});

describe('turning', () => {
  test.each([
    [{ rotate: 90 }, ['bottomLeft', 'topLeft', 'bottomRight', 'topRight']],
    [{ rotate: 180 }, ['bottomRight', 'bottomLeft', 'topRight', 'topLeft']],
    [{ rotate: 270 }, ['topRight', 'bottomRight', 'topLeft', 'bottomLeft']],
    [{ flip: 'horizontal' }, ['topRight', 'topLeft', 'bottomRight', 'bottomLeft']],
    [{ flip: 'vertical' }, ['bottomLeft', 'bottomRight', 'topLeft', 'topRight']],
    [{ flip: 'both' }, ['bottomRight', 'bottomLeft', 'topRight', 'topLeft']],
    [{ rotate: 90, flip: 'horizontal' }, ['topLeft', 'bottomLeft', 'topRight', 'bottomRight']],
  ] as const)('%j', async (turning, expected) => {
    const { seen } = await made(await compass(), { ...whole, ...turning });
    expect(corners(seen)).toEqual(expected);
    const sideways = 'rotate' in turning && turning.rotate !== 180;
    expect([seen.width, seen.height]).toEqual(sideways ? [400, 600] : [600, 400]);
  });

  test('comes on top of the orientation of the camera', async () => {
    const source = await orientedPicture(6, { width: 600, height: 400 });
    const { seen } = await made(source, { ...whole, rotate: 90 });
    expect(corners(seen)).toEqual(['bottomLeft', 'topLeft', 'bottomRight', 'topRight']);
  });

  test('turns every frame of an animation', async () => {
    const source = await animation({ width: 120, height: 90, frames: 3 });
    const { metadata } = await made(source, { ...whole, rotate: 90, format: 'gif' });
    expect([metadata.pages, metadata.width, metadata.height]).toEqual([3, 90, 120]);
  });
});

describe('what stays in view', () => {
  const box = { width: 100, height: 200, fit: 'cover', format: 'png' } as const;
  test.each([
    ['left', { x: 10, y: 10 }, true],
    ['left', { x: 350, y: 10 }, false],
    ['right', { x: 350, y: 10 }, true],
    ['top-left', { x: 10, y: 10 }, true],
    ['center', { x: 180, y: 80 }, true],
    ['attention', { x: 330, y: 80 }, true],
    ['entropy', { x: 20, y: 80 }, true],
  ] as const)('%s: %j is in view: %s', async (position, at, inView) => {
    const source = await encode(spot(400, 200, { ...at, side: 40 }), 'png');
    const { seen } = await made(source, { ...box, position });
    expect([seen.width, seen.height]).toEqual([100, 200]);
    let red = 0;
    for (let i = 0; i < seen.rgba.length; i += 4)
      if (distance([...seen.rgba.subarray(i, i + 3)], [200, 20, 40]) < 40) red++;
    expect(red > 1000).toBe(inView);
  });

  test('the focal point, wherever crop and turning have brought it', async () => {
    const source = await encode(spot(400, 200, { x: 340, y: 20, side: 40 }), 'png');
    const focalPoint = { x: 0.9, y: 0.2 };
    const plain = await made(source, { ...box, position: 'focal' }, { focalPoint });
    expect(distance(plain.seen.at(0.6, 0.2), [200, 20, 40, 255])).toBeLessThan(10);
    const mirrored = await made(source, { ...box, position: 'focal', flip: 'horizontal' }, { focalPoint });
    expect(distance(mirrored.seen.at(0.4, 0.2), [200, 20, 40, 255])).toBeLessThan(10);
    const turned = await made(
      source,
      { width: 200, height: 100, fit: 'cover', format: 'png', position: 'focal', rotate: 90 },
      { focalPoint },
    );
    let red = 0;
    for (let x = 0; x < 1; x += 0.05)
      for (let y = 0; y < 1; y += 0.05) if (distance(turned.seen.at(x, y), [200, 20, 40, 255]) < 40) red++;
    expect(red).toBeGreaterThan(10);
    const without = await made(source, { ...box, position: 'focal' });
    expect(distance(without.seen.at(0.5, 0.5), [250, 250, 250, 255])).toBeLessThan(10);
  });

  test('contain puts the picture where it is told to', async () => {
    const source = await encode(plainPixels(300, 100, [10, 120, 60]), 'png');
    const recipe = {
      width: 90,
      height: 90,
      fit: 'contain',
      format: 'png',
      position: 'bottom',
      background: '#ffff00',
    } as const;
    const { seen } = await made(source, recipe);
    expect(distance(seen.at(0.5, 0.9), [10, 120, 60, 255])).toBeLessThan(4);
    expect(distance(seen.at(0.5, 0.1), [255, 255, 0, 255])).toBeLessThan(4);
  });
});

describe('sizes', () => {
  test('dpr multiplies the box', async () => {
    const { seen } = await made(await compass(), { ...whole, width: 100, height: 100, dpr: 2 });
    expect([seen.width, seen.height]).toEqual([200, 133]);
  });

  test.each([
    ['inside', [800, 533]],
    ['outside', [1200, 800]],
    ['cover', [800, 800]],
    ['fill', [800, 800]],
    ['contain', [800, 800]],
  ] as const)('enlarge lets %s fill the box', async (fit, size) => {
    const { seen } = await made(await compass(), {
      width: 800,
      height: 800,
      fit,
      enlarge: true,
      format: 'png',
    });
    expect([seen.width, seen.height]).toEqual(size);
    if (fit !== 'contain') expect(corners(seen)).toEqual(Object.values(upright));
  });

  test('trim cuts a border of one colour off, and leaves a picture of one colour alone', async () => {
    const source = await encode(spot(300, 200, { x: 100, y: 50, side: 80 }), 'png');
    const { seen } = await made(source, { ...whole, trim: 10 });
    expect([seen.width, seen.height]).toEqual([80, 80]);
    expect(distance(seen.at(0.5, 0.5), [200, 20, 40, 255])).toBeLessThan(4);
    const plain = await made(await encode(plainPixels(60, 40, [9, 9, 9]), 'png'), { ...whole, trim: 10 });
    expect([plain.seen.width, plain.seen.height]).toEqual([60, 40]);
  });
});

describe('filters', () => {
  test('grayscale leaves no colour', async () => {
    const { seen } = await made(await compass(), { ...whole, grayscale: true });
    const [r = 0, g = 0, b = 0] = seen.at(0.1, 0.1);
    expect(Math.max(Math.abs(r - g), Math.abs(g - b))).toBeLessThanOrEqual(1);
  });

  test('blur softens an edge, sharpen hardens one', async () => {
    const edge = (seen: Awaited<ReturnType<typeof see>>) =>
      distance(seen.at(0.49, 0.1), [...seen.at(0.51, 0.1)]);
    const source = await photo({ width: 400, height: 300 });
    const plain = await made(source, { ...whole, width: 200 });
    const soft = await made(source, { ...whole, width: 200, blur: 3 });
    const hard = await made(source, { ...whole, width: 200, sharpen: 1.5 });
    const hardEdge = edge((await made(await compass(), whole)).seen);
    expect(edge((await made(await compass(), { ...whole, blur: 8 })).seen)).toBeLessThan(hardEdge * 0.7);
    expect(soft.size).toBeLessThan(plain.size);
    expect(hard.size).toBeGreaterThan(plain.size);
  });

  test('blur does not reach from one frame into the next', async () => {
    const frames = [plainPixels(60, 60, [255, 0, 0]), plainPixels(60, 60, [0, 0, 255])];
    const data = Buffer.concat(frames.map((frame) => frame.data));
    const source = await sharp(data, { raw: { width: 60, height: 120, channels: 3, pageHeight: 60 } })
      .webp({ lossless: true, delay: [100, 100], loop: 0 })
      .toBuffer();
    const { seen, metadata } = await made(source, { width: 60, fit: 'inside', format: 'webp', blur: 10 });
    expect(metadata.pages).toBe(2);
    expect(distance(seen.at(0.5, 0.97), [255, 0, 0])).toBeLessThan(12);
  });
});

describe('a watermark', () => {
  const put = async () => {
    const path = join(folder, 'mark');
    await writeFile(path, await encode(plainPixels(200, 100, [0, 0, 0]), 'png'));
    return { [mark]: path };
  };

  test('lies where it is told to, as large and as opaque', async () => {
    const source = await encode(plainPixels(400, 300, [255, 255, 255]), 'png');
    const watermark = { fileId: mark, position: 'bottom-right', opacity: 0.5, scale: 0.25 } as const;
    const { seen } = await made(source, { ...whole, watermark }, { watermarks: await put() });
    // 100 × 50 pixels, 6 from the edges.
    expect(distance(seen.at(344 / 400, 269 / 300), [127, 127, 127, 255])).toBeLessThan(4);
    expect(distance(seen.at(397 / 400, 297 / 300), [255, 255, 255, 255])).toBeLessThan(4);
    expect(distance(seen.at(280 / 400, 269 / 300), [255, 255, 255, 255])).toBeLessThan(4);
    expect(distance(seen.at(0.1, 0.1), [255, 255, 255, 255])).toBeLessThan(4);
  });

  test('lies on every frame, and on a grey picture in its own colours', async () => {
    const source = await animation({ width: 120, height: 90, frames: 3 });
    const watermark = { fileId: mark, position: 'center', opacity: 1, scale: 0.5 } as const;
    const { metadata } = await made(
      source,
      { ...whole, watermark, format: 'webp' },
      { watermarks: await put() },
    );
    expect(metadata.pages).toBe(3);
    const path = join(folder, 'red');
    await writeFile(path, await transparentDisc(100, [220, 10, 10]));
    const grey = await made(
      await compass(),
      { ...whole, grayscale: true, watermark },
      { watermarks: { [mark]: path } },
    );
    expect(distance(grey.seen.at(0.5, 0.5), [220, 10, 10, 255])).toBeLessThan(10);
  });

  test('that is no picture, or not there, fails its variant with a sentence and no other', async () => {
    const path = join(folder, 'mark');
    await writeFile(path, 'no picture');
    const other = '0190a5f0-0000-7000-8000-000000000002';
    const recipes = [
      { name: 'broken', recipe: { ...whole, watermark: { fileId: mark } } },
      { name: 'absent', recipe: { ...whole, watermark: { fileId: other } } },
      { name: 'plain', recipe: whole },
    ];
    const result = await render(
      await compass(),
      { outputFolder: folder, recipes, watermarks: { [mark]: path } },
      50_000_000,
    );
    expect(result.images.map(({ name }) => name)).toEqual(['plain']);
    expect(result.failures).toEqual([
      { name: 'broken', code: 'watermark-unusable', detail: expect.stringContaining('cannot be decoded') },
      { name: 'absent', code: 'watermark-unusable', detail: expect.stringContaining('not among') },
    ]);
  });
});

describe('encoding', () => {
  test('maxBytes lowers the quality as far as needed and no further', async () => {
    const source = await photo({ width: 600, height: 400 });
    for (const format of ['jpeg', 'webp', 'avif'] as const) {
      const free = await made(source, { ...whole, format, quality: 90 });
      const limit = Math.round(free.size * 0.6);
      const held = await made(source, { ...whole, format, quality: 90, maxBytes: limit });
      expect(held.size).toBeLessThanOrEqual(limit);
      expect(held.size).toBeGreaterThan(limit * 0.75);
      const roomy = await made(source, { ...whole, format, quality: 90, maxBytes: free.size });
      expect(roomy.size).toBe(free.size);
    }
  });

  test('maxBytes that no quality reaches gives the smallest', async () => {
    const source = await photo({ width: 600, height: 400 });
    const least = await made(source, { ...whole, format: 'jpeg', quality: 20 });
    const held = await made(source, { ...whole, format: 'jpeg', maxBytes: 256 });
    expect(held.size).toBe(least.size);
  });

  test('lossless keeps every pixel', async () => {
    const source = await encode(compassPixels(120, 80), 'png');
    for (const format of ['webp', 'avif'] as const) {
      const { seen } = await made(source, { ...whole, format, lossless: true });
      expect(meanDifference(seen, await see(source))).toBeLessThan(format === 'webp' ? 0.001 : 1);
    }
  });

  test('more effort, fewer bytes', async () => {
    const source = await photo({ width: 600, height: 400 });
    const sizes = [];
    for (const effort of [0, 6]) sizes.push((await made(source, { ...whole, format: 'webp', effort })).size);
    expect(sizes[1]).toBeLessThan(sizes[0]!);
  });

  test('animated: false shows the first frame', async () => {
    const source = await animation({ width: 80, height: 60, frames: 3 });
    const { metadata } = await made(source, { ...whole, format: 'webp', animated: false });
    expect(metadata.pages ?? 1).toBe(1);
  });

  test('a background lies behind transparency in every format', async () => {
    const { seen } = await made(await transparentDisc(100), { ...whole, background: '#00ff00' });
    expect(distance(seen.at(0.01, 0.01), [0, 255, 0, 255])).toBeLessThan(4);
  });
});

describe('what is kept of the original', () => {
  test('stripMetadata: false keeps camera and time, never the place', async () => {
    const source = await photoWithPosition({ width: 300, height: 200 });
    for (const format of ['jpeg', 'webp', 'png', 'avif'] as const) {
      const { metadata } = await made(source, { ...whole, format, stripMetadata: false });
      const exif = metadata.exif?.toString('latin1') ?? '';
      expect(exif).toContain('Arithmetic 1');
      expect(exif).toContain('2024:05:17 09:30:15');
      expect(exif).not.toMatch(/nobody|pictures\.ts/);
      expect(metadata.orientation ?? 1).toBe(1);
    }
  });

  test('keepIcc keeps the profile and the numbers that it gives a meaning; beside it others are converted', async () => {
    const source = await displayP3Photo({ width: 400, height: 300 });
    const { icc: own } = await sharp(source).metadata();
    const reference = await see(await sharp(source).png().toBuffer());
    const request = {
      outputFolder: folder,
      recipes: (['jpeg', 'png', 'webp', 'avif'] as const).flatMap((format) => [
        { name: `kept-${format}`, recipe: { ...whole, format, quality: 95, keepIcc: true } },
        { name: `plain-${format}`, recipe: { ...whole, format, quality: 95 } },
      ]),
    };
    const { images } = await render(source, request, 50_000_000);
    for (const { name, path } of images) {
      const { icc } = await sharp(path).metadata();
      expect(icc === undefined).toBe(name.startsWith('plain'));
      if (icc) expect(icc.equals(own!)).toBe(true);
      const shown = await see(await sharp(path).png().toBuffer());
      expect(meanDifference(shown, reference)).toBeLessThan(2.5);
    }
  });
});
