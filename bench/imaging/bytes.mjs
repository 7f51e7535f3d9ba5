/** Bytes of our variants beside those that plain pipelines need for pictures just as good. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { brightness, ssim } from './ssim.mjs';
import { plainPixels, recipes, reference, sharp, ways } from './ways.mjs';

/** The range of qualities, halved until two neighbours are left. */
const least = 1;
const most = 100;

/**
 * For each variant of a picture: our bytes, and those of a plain encoder (sharp's defaults but for the quality) whose
 * SSIM against the full decode with one resample equals ours; between two qualities the logarithm is interpolated.
 */
export async function bytesAtEqualSsim(path) {
  const original = await readFile(path);
  const folder = await mkdtemp(join(tmpdir(), 'bench-imaging-'));
  try {
    await ways.ours(path, folder);
    const result = {};
    for (const [name, recipe] of Object.entries(recipes)) {
      const made = await readFile(join(folder, `${name}.${recipe.format}`));
      const truth = brightness(await reference(original, recipe));
      const score = await scoreOf(made, truth);
      result[name] = {
        ssim: score,
        ours: made.length,
        plain: await plainBytes(original, recipe, truth, score),
      };
    }
    return result;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function plainBytes(original, recipe, truth, score) {
  const { data, info } = await plainPixels(original, recipe);
  const attempt = async (quality) => {
    const bytes = await sharp(data, { raw: info }).toFormat(recipe.format, { quality }).toBuffer();
    return { bytes: bytes.length, ssim: await scoreOf(bytes, truth) };
  };
  let low = least;
  let high = most;
  let below = await attempt(least);
  let above = await attempt(most);
  while (high - low > 1) {
    const quality = Math.floor((low + high) / 2);
    const made = await attempt(quality);
    if (made.ssim < score) {
      low = quality;
      below = made;
    } else {
      high = quality;
      above = made;
    }
  }
  const part = (score - below.ssim) / (above.ssim - below.ssim || 1);
  return Math.exp(
    Math.log(below.bytes) + Math.min(1, Math.max(0, part)) * Math.log(above.bytes / below.bytes),
  );
}

async function scoreOf(encoded, truth) {
  return ssim(truth, brightness(await sharp(encoded).raw().toBuffer({ resolveWithObject: true })));
}
