/** Pictures for the benchmark: those of a folder or generated ones, and photos with a colour profile. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { sharp } from './ways.mjs';

/** Paths of the pictures in a folder. */
export async function picturesIn(folder) {
  const names = (await readdir(folder)).filter((name) => /\.(jpe?g|png|webp|gif|avif)$/i.test(name)).sort();
  if (names.length === 0) throw new Error(`no pictures in ${folder}`);
  return names.map((name) => join(folder, name));
}

/** Makes pictures like those of a camera and a screen, the same on every run. */
export async function generate(folder) {
  for (const [name, width, height, format] of [
    ['photo-12mp.jpg', 4000, 3000, 'jpeg'],
    ['photo-6mp.webp', 3000, 2000, 'webp'],
    ['screen-2mp.png', 1080, 1920, 'png'],
  ]) {
    const data = Buffer.alloc(width * height * 3);
    let grain = 1;
    for (let i = 0, at = 0; i < width * height; i++) {
      const x = i % width;
      const y = (i - x) / width;
      grain = (Math.imul(grain, 1664525) + 1013904223) >>> 0;
      for (let c = 0; c < 3; c++) {
        data[at++] =
          118 + 60 * Math.sin((x * (c + 2)) / 190 + y / 420) + 50 * Math.sin(y / 33) + (grain >>> 28);
      }
    }
    const bytes = await sharp(data, { raw: { width, height, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    await writeFile(join(folder, name), bytes);
  }
  return picturesIn(folder);
}

/**
 * Of every JPEG photo two copies that differ in nothing but the profile: one in Display P3, and one without the segments
 * that say so.
 */
export async function profileTwins(paths, folder) {
  await mkdir(folder, { recursive: true });
  const twins = [];
  for (const [n, path] of paths.filter((path) => /\.jpe?g$/i.test(path)).entries()) {
    const coloured = await sharp(path).autoOrient().withIccProfile('p3').jpeg({ quality: 90 }).toBuffer();
    const twin = { with: join(folder, `${n}-p3.jpg`), without: join(folder, `${n}-bare.jpg`) };
    await writeFile(twin.with, coloured);
    await writeFile(twin.without, withoutProfile(coloured));
    twins.push(twin);
  }
  return twins;
}

/** Leaves out the APP2 segments that hold a profile (ICC.1:2022, annex B.4). */
function withoutProfile(jpeg) {
  const kept = [jpeg.subarray(0, 2)];
  let at = 2;
  // 0xda starts the picture's own data, where segments end.
  while (jpeg[at + 1] !== 0xda) {
    const end = at + 2 + jpeg.readUInt16BE(at + 2);
    const isProfile = jpeg[at + 1] === 0xe2 && jpeg.toString('latin1', at + 4, at + 15) === 'ICC_PROFILE';
    if (!isProfile) kept.push(jpeg.subarray(at, end));
    at = end;
  }
  return Buffer.concat([...kept, jpeg.subarray(at)]);
}
