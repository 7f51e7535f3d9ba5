import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import sharp from 'sharp';

import type { Recipe } from '../../src/foundation/imaging/recipe.js';
import { render } from '../../src/foundation/imaging/render.js';
import { seeFrames, type Seen } from '../fixtures/looking.js';
import type { Distance } from '../fixtures/perceptual-distance.js';
import { markId, watermark, type Shot } from './shots.js';

/** The folder of the goldens; a file of it is named by shot and recipe. */
export const folder = fileURLToPath(new URL('pictures/', import.meta.url));

/**
 * How far a result may be from its golden, by how it is encoded. Measured with another release of sharp (0.34.5 beside
 * 0.35.5): JPEG, WebP, GIF and PNG do not differ at all, AVIF by up to 2.0, 11.2 and 0.035, and CMYK, which is converted
 * otherwise, by 0.6 and 3.4 as a PNG. On the other side a picture that is moved by half a pixel is 0.7 and 7 away, one
 * with 5 of 255 more red 0.7 and 2.3 (half of it transparent) to 2.5.
 */
const tolerances = {
  exact: { mean: 0.6, worst: 4, structure: 0.02 },
  lossy: { mean: 1, worst: 6, structure: 0.05 },
  avif: { mean: 2.2, worst: 13, structure: 0.05 },
} as const satisfies Record<string, Distance>;

/** What a recipe made. */
export interface Print {
  /** `shot.recipe` */
  readonly name: string;
  readonly recipe: Recipe;
  /** As a person sees it; the frames of an animation below one another. */
  readonly seen: Seen;
}

/** Renders all recipes of a shot with the engine itself. */
export async function develop(name: string, shot: Shot): Promise<Print[]> {
  const output = await mkdtemp(join(tmpdir(), 'golden-'));
  try {
    const mark = join(output, 'mark');
    await writeFile(mark, await watermark());
    const { images, failures } = await render(
      await shot.picture(),
      {
        outputFolder: output,
        recipes: Object.entries(shot.recipes).map(([recipe, words]) => ({ name: recipe, recipe: words })),
        focalPoint: shot.focalPoint,
        watermarks: { [markId]: mark },
      },
      10_000_000,
    );
    const [failure] = failures;
    if (failure) throw new Error(`${name}.${failure.name}: ${failure.detail}`);
    return await Promise.all(
      images.map(async (image) => {
        const seen = await seeFrames(image.path);
        const { pages = 1 } = await sharp(image.path).metadata();
        if (seen.height !== image.height * pages) {
          throw new Error(`${name}.${image.name}: ${pages} frames of ${image.height} rows in ${seen.height}`);
        }
        return { name: `${name}.${image.name}`, recipe: shot.recipes[image.name]!, seen };
      }),
    );
  } finally {
    await rm(output, { recursive: true });
  }
}

/** The golden of that name; undefined when there is none. */
export async function goldenOf(name: string): Promise<Seen | undefined> {
  return (await goldenNames()).includes(name) ? seeFrames(pathOf(name)) : undefined;
}

export async function goldenNames(): Promise<string[]> {
  const files = await readdir(folder);
  return files.filter((file) => file.endsWith('.webp')).map((file) => file.slice(0, -'.webp'.length));
}

/** Makes a print the golden of its name. Lossless, and colours under full transparency are kept. */
export async function writeGolden({ name, seen }: Print): Promise<void> {
  const { width, height, rgba } = seen;
  await sharp(rgba, { raw: { width, height, channels: 4 } })
    .webp({ lossless: true, exact: true, effort: 6 })
    .toFile(pathOf(name));
}

export async function removeGolden(name: string): Promise<void> {
  await rm(pathOf(name));
}

function pathOf(name: string): string {
  return join(folder, `${name}.webp`);
}

/** True when a picture that a recipe made is not its golden any more, being so far from it. */
export function isRefused(
  distance: Distance,
  { format, lossless }: Pick<Recipe, 'format' | 'lossless'>,
): boolean {
  const exact = format === 'png' || lossless === true;
  const { mean, worst, structure } = tolerances[exact ? 'exact' : format === 'avif' ? 'avif' : 'lossy'];
  return distance.mean > mean || distance.worst > worst || distance.structure > structure;
}
