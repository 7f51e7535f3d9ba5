import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { distance, see, seeFrames, type Seen } from '../../../test/fixtures/looking.js';
import { encode, transparentDisc } from '../../../test/fixtures/pictures.js';
import { discPixels, plainPixels } from '../../../test/fixtures/pixels.js';
import type { Recipe } from './recipe.js';
import { render } from './render.js';

const grey: Recipe = { width: 100, height: 100, fit: 'inside', format: 'webp', grayscale: true };
const mark = '0190a5f0-0000-7000-8000-000000000001';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'grey-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function made(picture: Buffer, recipe: Recipe, look = see): Promise<Seen> {
  const path = join(folder, 'mark');
  await writeFile(path, await encode(plainPixels(40, 40, [220, 10, 10]), 'png'));
  const request = { outputFolder: folder, recipes: [{ name: 'one', recipe }], watermarks: { [mark]: path } };
  const { images } = await render(picture, request, 50_000_000);
  const seen = await look(images[0]!.path);
  await rm(images[0]!.path);
  return seen;
}

function spread([r = 0, g = 0, b = 0]: readonly number[]): number {
  return Math.max(r, g, b) - Math.min(r, g, b);
}

describe('grayscale', () => {
  test.each<[string, Partial<Recipe>]>([
    ['by itself', {}],
    ['held to a number of bytes', { maxBytes: 2000 }],
    ['held to a number of bytes, in an AVIF', { maxBytes: 2000, format: 'avif' }],
    ['with the profile kept', { keepIcc: true, format: 'png' }],
    ['and blurred', { blur: 1 }],
  ])('leaves transparency where it is: %s', async (_, more) => {
    const disc = await sharp(await transparentDisc(100))
      .withIccProfile('p3')
      .png()
      .toBuffer();
    const seen = await made(disc, { ...grey, ...more });
    expect(seen.at(0.02, 0.02)[3]).toBeLessThan(8);
    const middle = seen.at(0.5, 0.5);
    expect(middle[3]).toBe(255);
    expect(spread(middle)).toBeLessThan(4);
  });

  test('leaves transparency where it is in every frame of an animation', async () => {
    const data = Buffer.concat([discPixels(60, [200, 40, 60]).data, discPixels(60, [20, 40, 60]).data]);
    const source = await sharp(data, { raw: { width: 60, height: 120, channels: 4, pageHeight: 60 } })
      .webp({ lossless: true, delay: [100, 100] })
      .toBuffer();
    const seen = await made(source, { ...grey, blur: 1 }, seeFrames);
    expect(seen.height).toBe(120);
    for (const y of [0.01, 0.51]) expect(seen.at(0.02, y)[3]).toBeLessThan(8);
    for (const y of [0.25, 0.75]) expect(spread(seen.at(0.5, y))).toBeLessThan(4);
  });

  test('leaves a watermark its colours, held to a number of bytes too', async () => {
    const source = await encode(plainPixels(100, 100, [40, 90, 200]), 'png');
    const watermark = { fileId: mark, position: 'center', opacity: 1, scale: 0.4 } as const;
    const seen = await made(source, { ...grey, watermark, maxBytes: 4000 });
    expect(distance(seen.at(0.5, 0.5), [220, 10, 10])).toBeLessThan(25);
    expect(spread(seen.at(0.1, 0.1))).toBeLessThan(4);
  });

  test('gives one grey to a background, behind the picture and around it', async () => {
    const source = await sharp(await transparentDisc(100))
      .extend({ left: 50, right: 50, background: '#00000000' })
      .png()
      .toBuffer();
    const seen = await made(source, { ...grey, fit: 'contain', background: '#c02020', format: 'png' });
    expect(seen.at(0.5, 0.05)).toEqual(seen.at(0.05, 0.5));
    expect(spread(seen.at(0.05, 0.05))).toBe(0);
  });
});
