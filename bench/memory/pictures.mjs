/** Pictures as they come in from many hands, the same on every run. */
import {
  animation,
  photo,
  progressivePhoto,
  screenshot,
} from '../../packages/server/test/fixtures/pictures.ts';

/** JPEG, PNG and WebP of up to 12 megapixels. */
export async function usualPictures() {
  const small = { width: 1200, height: 800 };
  const middle = { width: 3000, height: 2000 };
  const large = { width: 4000, height: 3000 };
  return named([
    ['jpg', photo({ ...large, seed: 1 })],
    ['png', screenshot(1920, 1080)],
    ['jpg', photo({ ...middle, seed: 2 })],
    ['webp', photo({ ...large, seed: 3, format: 'webp' })],
    ['jpg', photo({ ...small, seed: 4 })],
    ['png', photo({ ...middle, seed: 5, format: 'png' })],
    ['jpg', photo({ width: 3000, height: 4000, seed: 6 })],
    ['webp', photo({ ...middle, seed: 7, format: 'webp' })],
    ['png', photo({ ...large, seed: 8, format: 'png' })],
    ['webp', photo({ ...small, seed: 9, format: 'webp' })],
  ]);
}

/** What costs a decoder most: AVIF and progressive JPEG are decoded whole, an animation holds all its frames. */
export async function heavyPictures() {
  return named([
    ['avif', photo({ width: 4000, height: 3000, seed: 1, format: 'avif' })],
    ['gif', animation({ width: 480, height: 320, frames: 20 })],
    ['jpg', progressivePhoto({ width: 6000, height: 4000 })],
    ['avif', photo({ width: 2000, height: 1500, seed: 2, format: 'avif' })],
  ]);
}

async function named(list) {
  const files = [];
  for (const [n, [extension, made]] of list.entries())
    files.push({ name: `${n}.${extension}`, bytes: await made });
  return files;
}
