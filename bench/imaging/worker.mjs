/** One way of making the four variants, in a process of its own: `plain` or `ours`. Answers CPU time and bytes. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import sharp from 'sharp';

const recipes = {
  thumbnail: { width: 200, height: 200, fit: 'cover', format: 'webp' },
  medium: { width: 800, height: 800, fit: 'inside', format: 'webp' },
  large: { width: 1600, height: 1600, fit: 'inside', format: 'jpeg' },
  card: { width: 600, height: 400, fit: 'cover', format: 'avif' },
};

sharp.concurrency(1);
sharp.cache(false);

/** What a server without an engine does: each variant on its own, from the file, at sharp's defaults. */
async function plain(path, folder) {
  const original = await readFile(path);
  let bytes = 0;
  for (const [name, { width, height, fit, format }] of Object.entries(recipes)) {
    const { size } = await sharp(original)
      .autoOrient()
      .resize({ width, height, fit, withoutEnlargement: true })
      .toFormat(format)
      .toFile(join(folder, name));
    bytes += size;
  }
  return { bytes, frames: 1 };
}

async function ours(path, folder) {
  const { render } = await import('../../packages/server/dist/foundation/imaging/render.js');
  const result = await render(
    await readFile(path),
    { outputFolder: folder, recipes: Object.entries(recipes).map(([name, recipe]) => ({ name, recipe })) },
    50_000_000,
  );
  return { bytes: result.images.reduce((sum, image) => sum + image.size, 0), frames: result.facts.frames };
}

const make = process.argv[2] === 'ours' ? ours : plain;

process.on('disconnect', () => process.exit());
process.on('message', async (path) => {
  const folder = await mkdtemp(join(tmpdir(), 'bench-imaging-'));
  const before = process.cpuUsage();
  const made = await make(path, folder);
  const { user, system } = process.cpuUsage(before);
  await rm(folder, { recursive: true });
  process.send({ ...made, cpuMs: (user + system) / 1000 });
});
