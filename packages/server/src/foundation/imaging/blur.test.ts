import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { see } from '../../../test/fixtures/looking.js';
import { encode } from '../../../test/fixtures/pictures.js';
import { plainPixels } from '../../../test/fixtures/pixels.js';
import { render } from './render.js';

const width = 400;
const height = 20;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blur-test-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** The standard deviation of the bell that has blurred an edge between black and white: of how steep it is, where. */
function widthOf(row: readonly number[]): number {
  const steps = row.slice(1).map((value, x) => value - row[x]!);
  const sum = steps.reduce((total, step) => total + step, 0);
  const middle = steps.reduce((total, step, x) => total + step * x, 0) / sum;
  return Math.sqrt(steps.reduce((total, step, x) => total + step * (x - middle) ** 2, 0) / sum);
}

test.each([0.5, 1, 3, 12, 40])('a blur of %f pixels is as wide as it says', async (blur) => {
  const edge = plainPixels(width, height, [0, 0, 0]);
  for (let y = 0; y < height; y++) edge.data.fill(255, (y * width + width / 2) * 3, (y + 1) * width * 3);
  const recipes = [{ name: 'one', recipe: { width, fit: 'inside', format: 'png', blur } as const }];
  const { images } = await render(await encode(edge, 'png'), { outputFolder: folder, recipes }, 50_000_000);
  const { rgba } = await see(images[0]!.path);
  const row = Array.from({ length: width }, (_, x) => rgba[(10 * width + x) * 4]!);
  const measured = widthOf(row);
  expect(measured).toBeGreaterThan(blur * 0.9);
  expect(measured).toBeLessThan(blur * 1.05);
});
