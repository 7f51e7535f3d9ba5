import { describe, expect, it } from 'vitest';

import { isDecodable, recipeDigest, recipeOf, storedRecipe } from './recipes.js';

describe('the digest of a recipe', () => {
  it('does not depend on the order of its members', () => {
    expect(recipeDigest({ width: 200, fit: 'cover', format: 'webp' })).toBe(
      recipeDigest({ format: 'webp', width: 200, fit: 'cover' }),
    );
  });

  it('changes with each of its members', () => {
    const digests = [
      recipeDigest({ width: 200, fit: 'cover', format: 'webp' }),
      recipeDigest({ height: 200, fit: 'cover', format: 'webp' }),
      recipeDigest({ width: 201, fit: 'cover', format: 'webp' }),
      recipeDigest({ width: 200, fit: 'inside', format: 'webp' }),
      recipeDigest({ width: 200, fit: 'cover', format: 'jpeg' }),
      recipeDigest({ width: 200, fit: 'cover', format: 'webp', quality: 80 }),
    ];
    expect(new Set(digests).size).toBe(digests.length);
  });

  it('does not change when a variant becomes lazy', () => {
    const setting = { width: 200, fit: 'cover', format: 'webp' } as const;
    expect(recipeDigest(recipeOf({ ...setting, lazy: true }))).toBe(recipeDigest(setting));
  });

  it('stays the same between versions of the program', () => {
    expect(recipeDigest({ width: 200, height: 200, fit: 'cover', format: 'webp' })).toMatchInlineSnapshot(
      `"8f85a1c6cb779397"`,
    );
  });
});

describe('a stored recipe', () => {
  it('is read back', () => {
    expect(storedRecipe({ width: 1, fit: 'fill', format: 'avif' })).toEqual({
      width: 1,
      fit: 'fill',
      format: 'avif',
    });
  });
  it.each([
    null,
    'text',
    {},
    { width: '1', fit: 'fill', format: 'avif' },
    { width: 1, fit: 'other', format: 'avif' },
  ])('is refused when it is %j', (json) => {
    expect(() => storedRecipe(json)).toThrow(TypeError);
  });
});

describe('types that a worker may be able to decode', () => {
  it.each([
    ['image/jpeg', true],
    ['image/avif', true],
    ['image/svg+xml', true],
    ['video/mp4', true],
    ['video/webm', true],
    ['video/x-unknown', false],
    ['image/heic', false],
    ['image/tiff', false],
    ['application/pdf', false],
  ])('%s: %s', (type, expected) => {
    expect(isDecodable(type)).toBe(expected);
  });
});
