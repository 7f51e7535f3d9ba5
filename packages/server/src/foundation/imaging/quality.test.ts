import { describe, expect, test } from 'vitest';

import { encode, photo } from '../../../test/fixtures/pictures.js';
import { leastQuality, measureQuality, qualityMargin } from '../../../test/imaging-quality.js';
import { scenePixels } from '../../../test/golden/scene.js';

/** On generated pictures, with variants of half their size, so that it is quick; the long suite takes real photos. */
const pictures: Readonly<Record<string, () => Promise<Buffer>>> = {
  'a photo': () => photo({ width: 1350, height: 1010 }),
  'a WebP': () => photo({ width: 1200, height: 900, format: 'webp' }),
  'hard edges and letters': () => encode(scenePixels(1300, 900), 'png'),
};

describe('one shared decode is as good as one for each variant', () => {
  test.each(Object.entries(pictures))('%s', async (_, make) => {
    const qualities = await measureQuality(await make(), 0.5);
    for (const { variant, pixels } of qualities) {
      expect(pixels.ours, variant).toBeGreaterThanOrEqual(leastQuality);
      expect(pixels.ours, variant).toBeGreaterThanOrEqual(pixels.plain - qualityMargin);
    }
    // Of 100 × 100 pixels an encoder makes 0.004 more or less as the wind blows: the mean of the variants counts.
    const mean = (way: 'ours' | 'plain'): number =>
      qualities.reduce((sum, { file }) => sum + file[way], 0) / qualities.length;
    expect(mean('ours')).toBeGreaterThanOrEqual(mean('plain') - qualityMargin);
  });
});
