import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newId } from '../ids.js';
import { InvalidKey } from './blob-store.js';
import {
  assertKey,
  compareKeys,
  isExtension,
  isKey,
  isVariantName,
  originalKey,
  placeOf,
  stagingKey,
  variantKey,
} from './keys.js';

const project = newId();
const file = newId();

describe('the layout of keys', () => {
  it('puts originals into files/ and variants into a folder of their own', () => {
    expect(originalKey(project, file, 'jpg')).toBe(`${project}/files/${file}.jpg`);
    expect(variantKey(project, 'thumbnail', file, 'webp')).toBe(`${project}/thumbnail/${file}.webp`);
  });

  it('names later generations in the file name', () => {
    expect(originalKey(project, file, 'jpg', 2)).toBe(`${project}/files/${file}.2.jpg`);
    expect(variantKey(project, 'large', file, 'jpg', 17)).toBe(`${project}/large/${file}.17.jpg`);
  });

  it('makes keys that every store takes', () => {
    expect(isKey(originalKey(project, file, 'a'.repeat(10), Number.MAX_SAFE_INTEGER))).toBe(true);
    expect(isKey(variantKey(project, 'v'.repeat(32), file, 'webp', 3))).toBe(true);
  });

  it.each([0, -1, 1.5, Number.NaN, Infinity])('refuses the generation %d', (generation) => {
    expect(() => originalKey(project, file, 'jpg', generation)).toThrow(RangeError);
  });

  it.each(['', '../x', 'a/b', project.toUpperCase(), `${project} `, `${project}/..`])(
    'refuses the id %j',
    (id) => {
      expect(() => originalKey(id, file, 'jpg')).toThrow(RangeError);
      expect(() => originalKey(project, id, 'jpg')).toThrow(RangeError);
      expect(() => variantKey(id, 'thumbnail', file, 'jpg')).toThrow(RangeError);
      expect(() => variantKey(project, 'thumbnail', id, 'jpg')).toThrow(RangeError);
    },
  );

  it.each(['', 'JPG', 'a.b', 'tar.gz', '/etc', 'x'.repeat(11), 'jpg\n', 'ü'])(
    'refuses the extension %j',
    (extension) => {
      expect(isExtension(extension)).toBe(false);
      expect(() => originalKey(project, file, extension)).toThrow(RangeError);
    },
  );

  it.each(['', 'files', 'Thumb', '1st', 'a_b', 'a/b', '../a', 'a'.repeat(33), 'thumb\n'])(
    'refuses the variant name %j',
    (name) => {
      expect(isVariantName(name)).toBe(false);
      expect(() => variantKey(project, name, file, 'webp')).toThrow(RangeError);
    },
  );

  it('has folders for what has no name in the settings: transformations, and formats of one variant', () => {
    for (const name of ['adhoc-8f85a1c6cb779397', 'adhoc-8f85a1c6cb779397.avif', 'medium.jpeg']) {
      expect(isVariantName(name)).toBe(false);
      expect(variantKey(project, name, file, 'avif', 3)).toBe(`${project}/${name}/${file}.3.avif`);
    }
    for (const name of ['files.avif', 'medium.exe', 'medium.', '.avif', 'medium.avif.webp']) {
      expect(() => variantKey(project, name, file, 'avif')).toThrow(RangeError);
    }
  });

  it.each(['a', 'thumbnail', 'files2', 'adhoc', 'a-1', 'a'.repeat(32)])(
    'takes the variant name %j',
    (name) => {
      expect(isVariantName(name)).toBe(true);
    },
  );
});

describe('a key', () => {
  it.each([
    'a',
    '.staging/x',
    '.mediablobkit/identity.json',
    'ünï/日本/😀',
    `${'k'.repeat(255)}/${'k'.repeat(255)}`,
  ])('may be %j', (key) => {
    expect(() => assertKey(key)).not.toThrow();
  });

  it('is refused with the reason, and a long one is not repeated whole', () => {
    expect(() => assertKey('a/../b')).toThrow(
      new InvalidKey('the key "a/../b" holds a . or .. segment', 'a/../b'),
    );
    expect(() => assertKey('x'.repeat(100_000))).toThrow(/^.{0,300}$/s);
  });

  it('never leads out of a folder', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('..', '.', '/', '\\', 'a', '\0', 'é', '.tmp')), (pieces) => {
        const key = pieces.join('');
        if (!isKey(key)) return;
        const { pathname } = new URL(encodeURI(key), 'file:///root/folder/');
        expect(pathname.startsWith('/root/folder/')).toBe(true);
      }),
    );
  });
});

describe('the place of a key', () => {
  it('is found for every key that is made here', () => {
    const made: readonly (readonly [string, string | undefined])[] = [
      [originalKey(project, file, 'jpg'), project],
      [originalKey(project, file, 'jpg', 12), project],
      [variantKey(project, 'card', file, 'webp'), project],
      [variantKey(project, 'card.avif', file, 'avif', 2), project],
      [variantKey(project, 'adhoc-0123abc', file, 'webp'), project],
      [stagingKey(file), undefined],
      [stagingKey(file, 1), undefined],
    ];
    for (const [key, projectId] of made) {
      expect(placeOf(key)).toEqual({ kind: 'blob', projectId });
      expect(placeOf(`.quarantine/${key}`)).toEqual({ kind: 'quarantine', key });
    }
    expect(placeOf('.mediablobkit/identity.json')).toEqual({ kind: 'own' });
  });

  it.each([
    'a.txt',
    project,
    `${project}/files`,
    `${project}/files/${file}`,
    `${project}/files/${file}.1.jpg`,
    `${project}/files/${file}.02.jpg`,
    `${project}/files/${file}.JPG`,
    `${project}/files/${file}.jpg/x`,
    `${project}/files.webp/${file}.webp`,
    `${project.slice(1)}A/files/${file}.jpg`,
    `x${project}/files/${file}.jpg`,
    `.staging/${file}/x`,
    `.staging/x`,
    `.quarantine/x`,
    `.quarantine/.quarantine/${project}/files/${file}.jpg`,
    `.mediablobkit`,
  ])('is foreign for %s', (key) => {
    expect(placeOf(key)).toEqual({ kind: 'foreign' });
  });
});

describe('the order of keys', () => {
  it('is that of their UTF-8 bytes', () => {
    // Surrogate pairs against U+E000–FFFF are where JavaScript's own order differs.
    const character = fc.oneof(
      fc.constantFrom('/', '.', '-', 'a', 'b', 'é', '\ud7ff', '\ue000', '\uffee', '😀', '\u{10ffff}'),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
    );
    const text = fc.array(character, { maxLength: 6 }).map((characters) => characters.join(''));
    fc.assert(
      fc.property(text, text, (a, b) => {
        const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
        expect(Math.sign(compareKeys(a, b))).toBe(expected);
      }),
      { examples: [['\uffee', '😀']] },
    );
  });
});
