import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { largest, place } from './geometry.js';
import { fits } from './recipe.js';

const photo = { width: 4000, height: 3000 };
const small = { width: 300, height: 200 };

describe('sizes are those of the table of fits', () => {
  test.each([
    [
      'inside keeps the whole picture within the box',
      photo,
      { width: 800, height: 800, fit: 'inside' },
      [800, 600],
    ],
    [
      'outside keeps the whole picture around the box',
      photo,
      { width: 800, height: 800, fit: 'outside' },
      [1067, 800],
    ],
    ['cover gives the box', photo, { width: 200, height: 200, fit: 'cover' }, [200, 200]],
    ['contain gives the box', photo, { width: 200, height: 200, fit: 'contain' }, [200, 200]],
    ['fill gives the box', photo, { width: 100, height: 700, fit: 'fill' }, [100, 700]],
    ['the height follows from a width', photo, { width: 1000, fit: 'cover' }, [1000, 750]],
    ['the width follows from a height', photo, { height: 300, fit: 'fill' }, [400, 300]],
    ['inside does not enlarge', small, { width: 800, height: 800, fit: 'inside' }, [300, 200]],
    ['outside does not enlarge', small, { width: 800, height: 800, fit: 'outside' }, [300, 200]],
    ['a width alone does not enlarge', small, { width: 800, fit: 'inside' }, [300, 200]],
    [
      'cover of a small picture keeps the box’s shape',
      small,
      { width: 400, height: 400, fit: 'cover' },
      [200, 200],
    ],
    [
      'cover of a picture small in one direction too',
      small,
      { width: 150, height: 400, fit: 'cover' },
      [75, 200],
    ],
    [
      'fill of a small picture keeps the box’s shape',
      small,
      { width: 600, height: 600, fit: 'fill' },
      [200, 200],
    ],
    [
      'contain of a small picture pads to the box',
      small,
      { width: 400, height: 400, fit: 'contain' },
      [400, 400],
    ],
    ['nothing gets thinner than a pixel', { width: 9000, height: 2 }, { width: 90, fit: 'inside' }, [90, 1]],
  ] as const)('%s', (_, picture, recipe, [width, height]) => {
    expect(place(picture, recipe).size).toEqual({ width, height });
  });

  test('cover cuts the same from both sides, an odd pixel from the left as sharp does', () => {
    const placement = place(photo, { width: 200, height: 200, fit: 'cover' });
    expect(placement).toMatchObject({ scaled: { width: 267, height: 200 }, left: 34, top: 0 });
  });
});

test('whatever the picture and the box, nothing is enlarged and what is cut lies inside', () => {
  const side = fc.integer({ min: 1, max: 20_000 });
  const recipe = fc
    .record({ width: fc.option(side, { nil: undefined }), height: side, fit: fc.constantFrom(...fits) })
    .map(({ width, ...rest }) => (width === undefined ? rest : { width, ...rest }));
  fc.assert(
    fc.property(side, side, recipe, (width, height, wanted) => {
      const { scaled, size, left, top } = place({ width, height }, wanted);
      expect(scaled.width).toBeLessThanOrEqual(width);
      expect(scaled.height).toBeLessThanOrEqual(height);
      expect(Math.min(size.width, size.height)).toBeGreaterThanOrEqual(1);
      if (size.width <= scaled.width) expect(left).toBeGreaterThanOrEqual(0);
      if (size.height <= scaled.height) expect(top).toBeGreaterThanOrEqual(0);
      if (wanted.fit !== 'contain') {
        expect(left + size.width).toBeLessThanOrEqual(scaled.width);
        expect(top + size.height).toBeLessThanOrEqual(scaled.height);
      }
    }),
    { numRuns: 2000, seed: 1 },
  );
});

test('the intermediate is exactly the largest variant when that is whole', () => {
  const picture = { width: 6000, height: 4001 };
  const placements = [
    place(picture, { width: 1600, height: 1600, fit: 'inside' }),
    place(picture, { width: 100, height: 100, fit: 'inside' }),
    place(picture, { width: 200, height: 200, fit: 'cover' }),
  ];
  expect(largest(placements.map(({ scaled }) => scaled))).toEqual({ width: 1600, height: 1067 });
});
