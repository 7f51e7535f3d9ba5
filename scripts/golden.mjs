/**
 * npm run golden — renders what packages/server/test/golden/shots.ts describes, writes anew each golden picture that
 * differs and removes those that nothing describes any more. All of them are laid out on golden/sheet.png: look at
 * every cell before you commit.
 *
 *   npm run golden -- --look    changes no golden; the sheet shows only what a test would refuse, the golden at its left
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { tsImport } from 'tsx/esm/api';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const look = process.argv.includes('--look');

/** A module of the tests. */
const load = (path) => tsImport(`../packages/server/test/${path}`, import.meta.url);
const { develop, goldenNames, goldenOf, isRefused, removeGolden, writeGolden } =
  await load('golden/gallery.ts');
const { shots } = await load('golden/shots.ts');
const { contactSheet } = await load('golden/sheet.ts');
const { perceptualDistance } = await load('fixtures/perceptual-distance.ts');

const cells = [];
const left = new Set(await goldenNames());
for (const [name, shot] of Object.entries(shots)) {
  for (const print of await develop(name, shot)) {
    left.delete(print.name);
    const old = await goldenOf(print.name);
    const change = changeOf(old, print);
    if (change) {
      console.log(
        `${print.name.padEnd(32)} ${change.text}${change.refused ? '' : '  (a test would pass it)'}`,
      );
      if (!look) await writeGolden(print);
    }
    if (!look || change?.refused) cells.push({ ...print, old: change ? old : undefined });
  }
}
for (const name of left) {
  console.log(`${name.padEnd(32)} is described nowhere`);
  if (!look) await removeGolden(name);
}

const sheet = join(root, 'golden', 'sheet.png');
if (cells.length > 0) {
  await mkdir(dirname(sheet), { recursive: true });
  await writeFile(sheet, await contactSheet(cells));
  console.log(`${cells.length} pictures on golden/sheet.png`);
} else console.log('every picture is its golden');

/** How a picture differs from its golden, as words; undefined when it does not. */
function changeOf(old, { seen, recipe }) {
  if (!old) return { text: 'new', refused: true };
  if (old.width !== seen.width || old.height !== seen.height) {
    return { text: `${old.width}×${old.height} became ${seen.width}×${seen.height}`, refused: true };
  }
  const distance = perceptualDistance(old, seen);
  const words = Object.entries(distance).map(([measure, value]) => `${measure} ${value.toFixed(3)}`);
  return Object.values(distance).some((value) => value > 0)
    ? { text: words.join(', '), refused: isRefused(distance, recipe) }
    : undefined;
}
