/** The ways of making the four variants of a picture. Each takes its path and an empty folder, and writes there. */
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

import { encodeAs } from '../../packages/server/dist/foundation/imaging/encode.js';
import { place } from '../../packages/server/dist/foundation/imaging/geometry.js';
import { render } from '../../packages/server/dist/foundation/imaging/render.js';

/** The server's own sharp; IPX brings another version, which lies beside this file. */
export const sharp = createRequire(new URL('../../packages/server/package.json', import.meta.url))('sharp');

export const recipes = {
  thumbnail: { width: 200, height: 200, fit: 'cover', format: 'webp' },
  medium: { width: 800, height: 800, fit: 'inside', format: 'webp' },
  large: { width: 1600, height: 1600, fit: 'inside', format: 'jpeg' },
  card: { width: 600, height: 400, fit: 'cover', format: 'avif' },
};
const maxPixels = 50_000_000;

export const ways = { ours, plain, tuned, ipx, floor };

/** Our engine: one decode, our encoder settings. */
async function ours(path, folder) {
  const request = Object.entries(recipes).map(([name, recipe]) => ({ name, recipe }));
  await render(await readFile(path), { outputFolder: folder, recipes: request }, maxPixels);
}

/** What a server without an engine does: each variant on its own, from the file, at sharp's defaults. */
async function plain(path, folder) {
  const original = await readFile(path);
  for (const [name, { format, ...box }] of Object.entries(recipes)) {
    await sized(original, box)
      .toFormat(format)
      .toFile(join(folder, `${name}.${format}`));
  }
}

/** The same with our encoder settings. */
async function tuned(path, folder) {
  const original = await readFile(path);
  for (const [name, { format, ...box }] of Object.entries(recipes)) {
    const pixels = box.width * box.height;
    await encodeAs(sized(original, box), { format, pixels }).toFile(join(folder, `${name}.${format}`));
  }
}

const servers = new Map();

/** IPX by its programmatic interface, at its defaults; four requests. */
async function ipx(path, folder) {
  const parent = dirname(path);
  if (!servers.has(parent)) {
    const { createIPX, ipxFSStorage } = await import('ipx');
    servers.set(parent, createIPX({ storage: ipxFSStorage({ dir: parent }) }));
  }
  const serve = servers.get(parent);
  for (const [name, { width, height, fit, format }] of Object.entries(recipes)) {
    const modifiers = { resize: `${width}x${height}`, fit, format };
    const { data } = await serve(basename(path), modifiers).process();
    await writeFile(join(folder, `${name}.${format}`), data);
  }
}

const readyPixels = new Map();

/**
 * What no engine can do without: one decode to the size of the largest variant, and four encodes with our settings
 * of pixels that are ready. The profile of the original is not even looked at.
 */
async function floor(path, folder) {
  const ready = await pixelsFor(path);
  await sharp(await readFile(path), { ignoreIcc: true, limitInputPixels: maxPixels })
    .autoOrient()
    .resize({ ...ready.decode, fit: 'fill', fastShrinkOnLoad: ready.fastShrink })
    .raw()
    .toBuffer();
  for (const [name, { format }] of Object.entries(recipes)) {
    const { data, info } = ready.variants[name];
    const picture = sharp(data, { raw: info });
    await encodeAs(picture, { format, pixels: info.width * info.height }).toFile(
      join(folder, `${name}.${format}`),
    );
  }
}

/** Made in the first round, which is not counted. */
async function pixelsFor(path) {
  const known = readyPixels.get(path);
  if (known) return known;
  const original = await readFile(path);
  const { format, autoOrient } = await sharp(original).metadata();
  const variants = {};
  for (const [name, recipe] of Object.entries(recipes)) variants[name] = await reference(original, recipe);
  const sizes = Object.values(recipes).map((recipe) => place(autoOrient, recipe).scaled);
  const decode = sizes.reduce((largest, size) => (size.width > largest.width ? size : largest));
  // As in our engine: libwebp's own scaler would be quicker and worse.
  const made = { variants, decode, fastShrink: format !== 'webp' };
  readyPixels.set(path, made);
  return made;
}

/** A variant's pixels by a full decode and one resample. */
export function reference(original, recipe) {
  return pixelsOf(sized(original, recipe, { fastShrinkOnLoad: false }), recipe);
}

/** A variant's pixels by a plain pipeline. */
export function plainPixels(original, recipe) {
  return pixelsOf(sized(original, recipe), recipe);
}

/** Without an alpha channel that hides nothing, or that the format does not have: our engine paints white behind it. */
async function pixelsOf(picture, { format }) {
  const { isOpaque } = await sharp(await picture.clone().png({ compressionLevel: 0 }).toBuffer()).stats();
  const solid = isOpaque || format === 'jpeg' ? picture.flatten({ background: 'white' }) : picture;
  const { data, info } = await solid.raw().toBuffer({ resolveWithObject: true });
  return { data, info: { width: info.width, height: info.height, channels: info.channels } };
}

function sized(original, { width, height, fit }, options = {}) {
  return sharp(original, { limitInputPixels: maxPixels })
    .autoOrient()
    .resize({ width, height, fit, withoutEnlargement: true, ...options });
}
