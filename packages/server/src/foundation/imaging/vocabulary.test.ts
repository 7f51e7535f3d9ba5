import { describe, expect, it } from 'vitest';

import type { AskedRecipe } from './recipe.js';
import { readRecipe, recipeFromText, recipeMembers, recipeToText } from './vocabulary.js';

/** A recipe in which every word is said. */
const everything: AskedRecipe = {
  crop: { left: 1, top: 2, width: 30, height: 40 },
  trim: 10,
  rotate: 90,
  flip: 'both',
  width: 200,
  height: 100,
  dpr: 1.5,
  fit: 'cover',
  position: 'focal',
  enlarge: true,
  background: '#00ff0080',
  grayscale: false,
  blur: 2.5,
  sharpen: 0.5,
  watermark: { fileId: '0191a2b3-0000-7000-8000-000000000001', position: 'top', opacity: 0.25, scale: 0.5 },
  animated: false,
  format: 'webp',
  quality: 70,
  effort: 3,
  lossless: false,
  maxBytes: 10_000,
  stripMetadata: false,
  keepIcc: true,
};

describe('a recipe in a URL', () => {
  it('is read as it was written, word by word', () => {
    expect(Object.keys(everything)).toEqual(recipeMembers);
    const texts = recipeToText(everything);
    expect(texts.map(([member]) => member)).toEqual(recipeMembers);
    const query = new URLSearchParams(Object.fromEntries(texts));
    const back = recipeFromText(Object.fromEntries(new URLSearchParams(query.toString())));
    expect(readRecipe(back)).toEqual({ recipe: everything });
  });

  it('says only what it says', () => {
    const short: AskedRecipe = { width: 5, fit: 'inside', format: 'auto' };
    expect(recipeToText(short)).toEqual([
      ['width', '5'],
      ['fit', 'inside'],
      ['format', 'auto'],
    ]);
    expect(readRecipe(recipeFromText({ width: '5', format: 'auto' }))).toEqual({ recipe: short });
  });

  it.each<[Record<string, string>, string | undefined]>([
    [{ width: '1e3' }, 'width'],
    [{ width: ' 5' }, 'width'],
    [{ width: '05x' }, 'width'],
    [{ width: '' }, 'width'],
    [{ width: '-5' }, 'width'],
    [{ width: '9'.repeat(30) }, 'width'],
    [{ width: '5', enlarge: 'yes' }, 'enlarge'],
    [{ width: '5', crop: '1,2,3' }, 'crop'],
    [{ width: '5', crop: '1,2,3,4,5' }, 'crop'],
    [{ width: '5', background: 'red' }, 'background'],
    [{ width: '5', watermark: '../etc/passwd' }, 'watermark'],
    [{ width: '5', format: 'exe' }, 'format'],
    [{ width: '5', format: 'auto', lossless: 'true' }, 'lossless'],
    [{ width: '16384', format: 'auto' }, 'width'],
    [{ fit: 'cover' }, undefined],
  ])('is refused when it is %j', (texts, member) => {
    expect(readRecipe(recipeFromText(texts))).toMatchObject({ faults: [{ member }] });
  });
});
