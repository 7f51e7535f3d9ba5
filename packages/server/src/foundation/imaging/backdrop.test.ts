import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { distance, see, seeFrames, type Seen } from '../../../test/fixtures/looking.js';
import { encode, transparentDisc } from '../../../test/fixtures/pictures.js';
import { discPixels, plainPixels } from '../../../test/fixtures/pixels.js';
import { backdropOf } from './backdrop.js';
import type { Recipe } from './recipe.js';
import { render } from './render.js';

const square: Recipe = { width: 100, height: 100, fit: 'contain', format: 'png' };
const half = '#ff000080';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'backdrop-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function made(picture: Buffer, recipe: Recipe, look = see): Promise<Seen> {
  const recipes = [{ name: 'one', recipe }];
  const { images } = await render(picture, { outputFolder: folder, recipes }, 50_000_000);
  const seen = await look(images[0]!.path);
  await rm(images[0]!.path);
  return seen;
}

describe('a translucent background', () => {
  test('is the same behind transparency and around the picture, and stays translucent', async () => {
    for (const format of ['png', 'webp', 'avif'] as const) {
      const disc = await sharp(await transparentDisc(100, [0, 0, 200]))
        .extend({ left: 50, right: 50, background: '#00000000' })
        .png()
        .toBuffer();
      const seen = await made(disc, { ...square, background: half, format });
      // Around it, beside the disc, on the disc.
      expect(distance(seen.at(0.5, 0.05), [255, 0, 0, 128])).toBeLessThan(12);
      expect(distance(seen.at(0.05, 0.5), [255, 0, 0, 128])).toBeLessThan(12);
      expect(distance(seen.at(0.5, 0.5), [0, 0, 200, 255])).toBeLessThan(12);
    }
  });

  test('lies on white where the format has no transparency', async () => {
    const plain = await encode(plainPixels(200, 100, [0, 0, 200]), 'png');
    for (const picture of [plain, await transparentDisc(100, [0, 0, 200])]) {
      const seen = await made(picture, { ...square, background: half, format: 'jpeg' });
      expect(distance(seen.at(0.02, 0.02), [255, 127, 127, 255])).toBeLessThan(12);
      expect(distance(seen.at(0.5, 0.5), [0, 0, 200, 255])).toBeLessThan(12);
    }
  });

  test('changes nothing where nothing is seen of it', async () => {
    const plain = await encode(plainPixels(60, 40, [10, 120, 60]), 'png');
    const recipes = [{ name: 'one', recipe: { ...square, fit: 'inside', background: half } as const }];
    const { images } = await render(plain, { outputFolder: folder, recipes }, 50_000_000);
    expect((await sharp(images[0]!.path).metadata()).hasAlpha).toBe(false);
  });

  test('lies under every frame', async () => {
    const frames = [discPixels(60, [0, 0, 200]), discPixels(60, [0, 160, 0])];
    const strip = { width: 60, height: 120, channels: 4, pageHeight: 60 } as const;
    const source = await sharp(Buffer.concat(frames.map(({ data }) => data)), { raw: strip })
      .webp({ lossless: true, delay: [100, 100] })
      .toBuffer();
    const recipe = { ...square, width: 60, height: 60, background: half, format: 'webp' } as const;
    const seen = await made(source, recipe, seeFrames);
    expect(seen.height).toBe(120);
    for (const y of [0.02, 0.52]) expect(distance(seen.at(0.02, y), [255, 0, 0, 128])).toBeLessThan(8);
    expect(distance(seen.at(0.5, 0.25), [0, 0, 200, 255])).toBeLessThan(12);
    expect(distance(seen.at(0.5, 0.75), [0, 160, 0, 255])).toBeLessThan(12);
  });
});

test('what stands behind a picture follows from colour and format', () => {
  expect(backdropOf({ format: 'png' })).toBeUndefined();
  expect(backdropOf({ format: 'jpeg' })).toEqual({ r: 255, g: 255, b: 255, alpha: 1 });
  expect(backdropOf({ format: 'webp', background: '#102030' })).toEqual({ r: 16, g: 32, b: 48, alpha: 1 });
  expect(backdropOf({ format: 'avif', background: '#10203000' })).toMatchObject({ alpha: 0 });
  expect(backdropOf({ format: 'jpeg', background: '#00000033' })).toEqual({
    r: 204,
    g: 204,
    b: 204,
    alpha: 1,
  });
});
