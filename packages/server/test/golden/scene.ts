import {
  compass,
  photoPixels,
  randomFrom,
  textPixels,
  type RawPicture,
  type Rgb,
} from '../fixtures/pixels.js';

/**
 * What golden pictures are taken of: a photo with grain, a square of another colour in each corner (`compass`: red,
 * green, blue and yellow in reading order), a line of letters along the bottom, a smooth ramp at the left, and a vivid
 * disc to the right of the middle. Nothing is symmetrical: whatever is moved, turned or mirrored shows.
 */
export function scenePixels(width: number, height: number): RawPicture {
  const picture = photoPixels({ width, height, seed: 3 });
  const short = Math.min(width, height);
  const letters = textPixels(Math.ceil(width / 4), 16);
  const random = randomFrom(7);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const colour =
        cornerAt(x, y, width, height, short / 7) ??
        rampAt(x / width, y / height) ??
        letterAt(letters, x, y - height * 0.76) ??
        discAt((x - width * 0.68) / short, (y - height * 0.38) / short, random);
      if (colour) picture.data.set(colour, (y * width + x) * 3);
    }
  }
  return picture;
}

/** The scene inside a border of one colour, `#f4f1ea`, as wide as a tenth of the shorter side. */
export function framedScenePixels(width: number, height: number): RawPicture {
  const border = Math.round(Math.min(width, height) / 10);
  const inner = scenePixels(width - 2 * border, height - 2 * border);
  const data = Buffer.alloc(width * height * 3, Buffer.from([0xf4, 0xf1, 0xea]));
  for (let y = 0; y < inner.height; y++) {
    const from = y * inner.width * 3;
    inner.data.copy(data, ((y + border) * width + border) * 3, from, from + inner.width * 3);
  }
  return { width, height, channels: 3, data };
}

/** The scene behind a round window with a soft edge: full transparency in the corners, half of it at the left. */
export function windowPixels(width: number, height: number): RawPicture {
  const scene = scenePixels(width, height);
  const data = Buffer.alloc(width * height * 4);
  for (let i = 0; i < width * height; i++) {
    const x = (i % width) / width - 0.5;
    const y = Math.floor(i / width) / height - 0.5;
    const round = Math.max(0, Math.min(1, (0.5 - Math.hypot(x, y)) * 20));
    data.set(
      [...scene.data.subarray(i * 3, i * 3 + 3), Math.round(255 * round * (x < -0.15 ? 0.5 : 1))],
      i * 4,
    );
  }
  return { width, height, channels: 4, data };
}

function cornerAt(x: number, y: number, width: number, height: number, side: number): Rgb | undefined {
  const row = y < side ? 'top' : y >= height - side ? 'bottom' : undefined;
  const column = x < side ? 'Left' : x >= width - side ? 'Right' : undefined;
  return row && column && compass[`${row}${column}`];
}

function rampAt(x: number, y: number): Rgb | undefined {
  if (x < 0.06 || x >= 0.2 || y < 0.2 || y >= 0.7) return undefined;
  const value = Math.round(((y - 0.2) / 0.5) * 255);
  return [value, value, 255 - Math.round(value / 2)];
}

/** Letters four times as large as on a screenshot, so that they are still letters in a small result. */
function letterAt(letters: RawPicture, x: number, y: number): Rgb | undefined {
  if (y < 0 || y >= letters.height * 4 - 12) return undefined;
  const at = (Math.floor(y / 4) * letters.width + Math.floor(x / 4)) * 3;
  const value = letters.data[at]!;
  return [value, value, value];
}

function discAt(x: number, y: number, random: () => number): Rgb | undefined {
  const grain = Math.floor(random() * 12);
  return Math.hypot(x, y) < 0.14 ? [232 + grain, 96 + grain, 20 + grain] : undefined;
}
