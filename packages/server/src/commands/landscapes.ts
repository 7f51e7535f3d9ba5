import { encodePng } from '../foundation/imaging/png.js';

/** Skies from dusk to noon: top, horizon, and the colour of the hills. */
const moods: readonly [Mood, ...Mood[]] = [
  [
    [24, 32, 84],
    [250, 150, 96],
    [38, 28, 58],
  ],
  [
    [92, 168, 224],
    [232, 244, 250],
    [34, 84, 74],
  ],
  [
    [60, 20, 84],
    [244, 108, 130],
    [32, 16, 52],
  ],
  [
    [10, 28, 60],
    [96, 164, 170],
    [8, 24, 36],
  ],
  [
    [244, 196, 120],
    [252, 236, 204],
    [120, 72, 52],
  ],
  [
    [44, 84, 132],
    [248, 212, 168],
    [28, 52, 80],
  ],
];

type Mood = readonly [Colour, Colour, Colour];
type Colour = readonly [number, number, number];

/**
 * A landscape of hills under a sun, made by arithmetic: the same number always makes the same PNG.
 * @param number which picture; any integer.
 * @param width pixels
 * @param height pixels
 */
export function landscape(number: number, width: number, height: number): Buffer {
  const random = seededRandom(number + 1);
  const [top, horizon, hills] = moods[number % moods.length] ?? moods[0];
  const sun = { x: width * (0.2 + 0.6 * random()), y: height * (0.2 + 0.3 * random()), r: height * 0.07 };
  const ridges = Array.from({ length: 5 }, (_, depth) => ridge(depth, width, height, random));
  const data = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let colour = mix(top, horizon, Math.min(1, y / (height * 0.62)));
      const distance = Math.hypot(x - sun.x, y - sun.y);
      const glow = Math.exp(-Math.max(0, distance - sun.r) / (height * 0.12));
      colour = mix(colour, [255, 244, 214], distance < sun.r ? 1 : glow * 0.8);
      for (const [depth, line] of ridges.entries()) {
        if (y > (line[x] ?? height)) colour = mix(horizon, hills, 0.28 + depth * 0.18);
      }
      // One level of noise keeps wide gradients from showing bands.
      const grain = random() < 0.5 ? 0 : 1;
      const at = (y * width + x) * 3;
      for (let c = 0; c < 3; c++) data[at + c] = Math.min(255, Math.round(colour[c] ?? 0) + grain);
    }
  }
  return encodePng({ width, height, channels: 3, data });
}

/** The height of one chain of hills at each column; nearer chains are lower and steeper. */
function ridge(depth: number, width: number, height: number, random: () => number): Float64Array {
  const waves = Array.from({ length: 6 }, (_, octave) => ({
    frequency: (1 + octave * 1.7 + random()) * 2 * Math.PI,
    phase: random() * 2 * Math.PI,
    size: ((0.06 + depth * 0.008) * height) / (1 + octave),
  }));
  const base = height * (0.52 + depth * 0.095);
  return Float64Array.from({ length: width }, (_, x) =>
    waves.reduce((y, wave) => y + Math.sin((x / width) * wave.frequency + wave.phase) * wave.size, base),
  );
}

function mix(a: Colour, b: Colour, share: number): Colour {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

/** mulberry32: a small generator whose sequence depends on the seed alone. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
