import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, describe, expect, it } from 'vitest';

import { leastQuality, measureQuality, qualityMargin, type Quality } from '../imaging-quality.js';

/**
 * What `quality.test.ts` tries on generated pictures, on the photos of a folder, with variants of their usual size:
 * about five seconds for each. Prints the figures.
 */
const folder = process.env['TEST_PICTURES'];

describe('one shared decode of a real photo is as good as one for each variant', () => {
  if (folder === undefined) {
    it.skip('needs TEST_PICTURES, a folder of photos', () => undefined);
    return;
  }
  const names = readdirSync(folder).filter((name) => /\.(jpe?g|png|webp|gif|avif)$/i.test(name));
  const lines: string[] = [];
  afterAll(() => console.log([heading, ...lines].join('\n')));

  it.each(names.sort())('%s', async (name) => {
    const qualities = await measureQuality(await readFile(join(folder, name)));
    lines.push(...qualities.map((quality) => lineOf(name, quality)));
    for (const { variant, pixels, file } of qualities) {
      expect(pixels.ours, variant).toBeGreaterThanOrEqual(leastQuality);
      expect(pixels.ours, variant).toBeGreaterThanOrEqual(pixels.plain - qualityMargin);
      expect(file.ours, variant).toBeGreaterThanOrEqual(file.plain - qualityMargin);
    }
  });
});

const heading = `${'SSIM, ours / plain sharp'.padEnd(52)}      pixels             file`;

function lineOf(name: string, { variant, width, height, pixels, file }: Quality): string {
  const pair = ({ ours, plain }: Quality['file']): string => `${ours.toFixed(4)} / ${plain.toFixed(4)}`;
  const size = `${width}×${height}`;
  return `${name.padEnd(30)} ${variant.padEnd(10)} ${size.padEnd(10)} ${pair(pixels)}   ${pair(file)}`;
}
