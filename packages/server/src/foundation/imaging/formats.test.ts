import { describe, expect, it } from 'vitest';

import { autoFormats, concrete } from './formats.js';
import type { AskedRecipe, OutputFormat } from './recipe.js';
import { isRecipe, recipeFaults } from './vocabulary.js';

describe('the formats that auto stands for', () => {
  it.each<[string, number | null, boolean, readonly OutputFormat[]]>([
    ['image/jpeg', 1, true, ['avif', 'webp', 'jpeg']],
    ['image/png', null, true, ['avif', 'webp', 'png']],
    ['image/avif', 1, true, ['webp', 'avif']],
    ['image/heic', null, true, ['avif', 'webp', 'jpeg']],
    // A still in AVIF is no animation; before the first decode it may be one.
    ['image/gif', 12, true, ['webp', 'gif']],
    ['image/gif', null, true, ['webp', 'gif']],
    ['image/gif', 12, false, ['avif', 'webp', 'gif']],
    ['image/gif', 1, true, ['avif', 'webp', 'gif']],
    ['image/webp', null, true, ['webp']],
    ['image/webp', 1, true, ['avif', 'webp']],
  ])('of %s with %j frames, kept: %j', (mimeType, frames, kept, formats) => {
    expect(autoFormats({ mimeType, frames }, kept)).toEqual(formats);
  });
});

describe('a recipe in one of its formats', () => {
  const asked: AskedRecipe = {
    width: 10,
    fit: 'inside',
    format: 'auto',
    quality: 80,
    maxBytes: 1000,
    keepIcc: true,
  };

  it.each<[OutputFormat, object]>([
    ['jpeg', { quality: 80, maxBytes: 1000, keepIcc: true }],
    ['webp', { quality: 80, maxBytes: 1000, keepIcc: true }],
    ['avif', { quality: 50, maxBytes: 1000, keepIcc: true }],
    ['png', { keepIcc: true }],
    ['gif', {}],
  ])('says of %s only what that knows', (format, members) => {
    const recipe = concrete(asked, format);
    expect(recipe).toEqual({ width: 10, fit: 'inside', format, ...members });
    expect(isRecipe(recipe)).toBe(true);
    expect(recipeFaults({ ...recipe })).toEqual([]);
  });

  it.each([
    [1, 1],
    [40, 25],
    [80, 50],
    [90, 75],
    [100, 100],
  ])('gives AVIF for a quality of %i one of %i', (quality, avif) => {
    expect(concrete({ ...asked, quality }, 'avif').quality).toBe(avif);
  });

  it('keeps the one it has', () => {
    expect(concrete({ ...asked, format: 'webp' }, 'avif')).toMatchObject({ format: 'webp', quality: 80 });
  });
});
