/** Photos to upload: those of a folder, or generated ones. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { photo } from '../../packages/server/test/fixtures/pictures.ts';

/** Megapixels of the generated photos: what telephones and cameras make. */
const sizes = [
  [4000, 3000],
  [4032, 3024],
  [3000, 2000],
  [5472, 3648],
];

/** @returns the photos (stills) with their names, paths and bytes. */
export async function photoFiles(folder, scratch) {
  const paths = folder ? await stillsIn(folder) : await generate(scratch);
  return Promise.all(paths.map(async (path) => ({ path, bytes: await readFile(path) })));
}

async function stillsIn(folder) {
  const names = (await readdir(folder)).filter((name) => /\.(jpe?g|png|webp|avif)$/i.test(name)).sort();
  if (names.length === 0) throw new Error(`no photos in ${folder}`);
  return names.map((name) => join(folder, name));
}

async function generate(scratch) {
  const paths = [];
  for (const [seed, [width, height]] of sizes.entries()) {
    const path = join(scratch, `photo-${seed}.jpg`);
    await writeFile(path, await photo({ width, height, seed: seed + 1 }));
    paths.push(path);
  }
  return paths;
}
