import { describe, expect, test } from 'vitest';

import { asSeen, type Seen } from '../../../test/fixtures/looking.js';
import { perceptualDistance } from '../../../test/fixtures/perceptual-distance.js';
import { develop, goldenNames, goldenOf, isRefused } from '../../../test/golden/gallery.js';
import { shots } from '../../../test/golden/shots.js';

/** What to do when one of these fails. */
const advice =
  'npm run golden -- --look lays golden and result side by side; npm run golden accepts the results';

describe('every recipe still makes its golden picture', () => {
  test.each(Object.entries(shots))('%s', async (name, shot) => {
    const refused: string[] = [];
    for (const { name: print, recipe, seen } of await develop(name, shot)) {
      const golden = await goldenOf(print);
      if (!golden) refused.push(`${print} has no golden`);
      else if (golden.width !== seen.width || golden.height !== seen.height) {
        refused.push(`${print} is ${seen.width}×${seen.height} instead of ${golden.width}×${golden.height}`);
      } else {
        const distance = perceptualDistance(golden, seen);
        if (isRefused(distance, recipe)) refused.push(`${print} is away ${JSON.stringify(distance)}`);
      }
    }
    expect(refused, advice).toEqual([]);
  });

  test('and no golden is left over', async () => {
    const described = Object.entries(shots).flatMap(([name, { recipes }]) =>
      Object.keys(recipes).map((recipe) => `${name}.${recipe}`),
    );
    expect((await goldenNames()).sort()).toEqual(described.sort());
  });
});

type Change = (x: number, y: number, channel: number, picture: Picture) => number;

/** A golden to be changed: the value of a channel at a place, the nearest one for a place outside. */
interface Picture {
  readonly width: number;
  readonly height: number;
  value(x: number, y: number, channel: number): number;
}

function changed({ width, height, rgba }: Seen, change: Change): Seen {
  const inside = (at: number, length: number): number => Math.max(0, Math.min(length - 1, at));
  const picture: Picture = {
    width,
    height,
    value: (x, y, channel) => rgba[(inside(y, height) * width + inside(x, width)) * 4 + channel]!,
  };
  const data = Buffer.alloc(rgba.length);
  for (let at = 0; at < data.length; at++) {
    const pixel = at >> 2;
    const value = change(pixel % width, Math.floor(pixel / width), at & 3, picture);
    data[at] = Math.max(0, Math.min(255, Math.round(value)));
  }
  return asSeen(data, width, height);
}

const same: Change = (x, y, channel, { value }) => value(x, y, channel);
const moved =
  (right: number, down: number): Change =>
  (x, y, channel, { value }) =>
    value(x - right, y - down, channel);
const cast =
  (by: readonly [number, number, number]): Change =>
  (x, y, channel, { value }) =>
    value(x, y, channel) + (by[channel] ?? 0);

/** Faults that a golden must not let pass however its picture is encoded. */
const gross: Readonly<Record<string, Change>> = {
  'moved by 4 pixels': moved(4, 0),
  'moved down by 4 pixels': moved(0, 4),
  mirrored: (x, y, channel, { width, value }) => value(width - 1 - x, y, channel),
  'upside down': (x, y, channel, { height, value }) => value(x, height - 1 - y, channel),
  'with red and blue swapped': (x, y, channel, { value }) => value(x, y, [2, 1, 0, 3][channel]!),
  'with a square of 8 pixels lost': (x, y, channel, { value }) =>
    x >= 16 && x < 24 && y >= 24 && y < 32 ? 128 : value(x, y, channel),
};
/** Faults that are seen only where no encoder loses anything. */
const slight: Readonly<Record<string, Change>> = {
  'moved by half a pixel': (x, y, channel, { value }) =>
    (value(x, y, channel) + value(x - 1, y, channel)) / 2,
  'a little redder': cast([5, 0, 0]),
  'a little bluer': cast([0, 0, 5]),
  'a little darker': cast([-4, -4, -4]),
  'a little transparent': (x, y, channel, { value }) => value(x, y, channel) * (channel === 3 ? 0.95 : 1),
};

describe('a golden refuses its picture', () => {
  const exact = ['fit.inside', 'turn.rotate-90', 'window.png', 'position.attention', 'filter.blur'];
  const lossy = ['format.jpeg', 'format.webp', 'format.avif', 'animation.webp'];
  const cases = [
    ...exact.flatMap((name) =>
      Object.entries({ ...gross, ...slight }).map((fault) => [name, ...fault] as const),
    ),
    ...lossy.flatMap((name) => Object.entries(gross).map((fault) => [name, ...fault] as const)),
  ];
  test.each(cases)('%s %s', async (name, _, change) => {
    const golden = (await goldenOf(name))!;
    const distance = perceptualDistance(golden, changed(golden, change));
    expect(isRefused(distance, recipeOf(name)), JSON.stringify(distance)).toBe(true);
  });
});

describe('a golden lets pass', () => {
  test('what does not change it', async () => {
    const golden = (await goldenOf('fit.inside'))!;
    const distance = perceptualDistance(golden, changed(golden, same));
    expect(distance).toEqual({ mean: 0, worst: 0, structure: 0 });
  });

  test('noise that nobody sees', async () => {
    const golden = (await goldenOf('fit.inside'))!;
    const noisy: Change = (x, y, channel, { value }) =>
      value(x, y, channel) + (channel < 3 ? ((x * 7 + y * 13 + channel * 5) % 5) - 2 : 0);
    expect(isRefused(perceptualDistance(golden, changed(golden, noisy)), { format: 'png' })).toBe(false);
  });

  test('other settings of the encoders, which differ more than their versions do', async () => {
    const { jpeg, webp, avif } = shots['format']!.recipes;
    const recipes = {
      jpeg: { ...jpeg!, quality: 81 },
      webp: { ...webp!, effort: 6 },
      avif: { ...avif!, effort: 4 },
    };
    for (const { name, recipe, seen } of await develop('format', { ...shots['format']!, recipes })) {
      const distance = perceptualDistance((await goldenOf(name))!, seen);
      expect(distance.mean, name).toBeGreaterThan(0);
      expect(isRefused(distance, recipe), `${name} ${JSON.stringify(distance)}`).toBe(false);
    }
  });
});

function recipeOf(name: string) {
  const [shot, recipe] = name.split('.');
  return shots[shot!]!.recipes[recipe!]!;
}
