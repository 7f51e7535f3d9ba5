import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';

import { Problem } from '../../foundation/problems.js';
import { SettingsInput } from './schema.js';
import { checkSettings, defaultSettings, readSettings } from './settings.js';

/** The places that are complained about. */
function faultsOf(patch: unknown): readonly string[] {
  try {
    checkSettings(patch);
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid-settings') {
      return (error.members.errors ?? []).map(({ pointer }) => pointer);
    }
    throw error;
  }
  return [];
}

const variant = (members: object) => ({ variants: { a: { width: 10, ...members } } });

/** Settings that must be refused, and where. */
const wrong: readonly (readonly [unknown, string])[] = [
  [null, '/settings'],
  [[], '/settings'],
  ['{}', '/settings'],
  [{ colour: 'red' }, '/settings/colour'],
  [{ 'a/b~c': 1 }, '/settings/a~1b~0c'],
  [{ variants: null }, '/settings/variants'],
  [{ variants: [] }, '/settings/variants'],
  [{ variants: { a: null } }, '/settings/variants/a'],
  [{ variants: { a: 200 } }, '/settings/variants/a'],
  [{ variants: { a: {} } }, '/settings/variants/a'],
  [{ variants: { a: { fit: 'cover' } } }, '/settings/variants/a'],
  [{ variants: { files: { width: 1 } } }, '/settings/variants/files'],
  [{ variants: { 'adhoc-1': { width: 1 } } }, '/settings/variants/adhoc-1'],
  [{ variants: { Thumb: { width: 1 } } }, '/settings/variants/Thumb'],
  [{ variants: { '': { width: 1 } } }, '/settings/variants/'],
  [{ variants: { '../x': { width: 1 } } }, '/settings/variants/..~1x'],
  [{ variants: { ['a'.repeat(33)]: { width: 1 } } }, `/settings/variants/${'a'.repeat(33)}`],
  [variant({ width: 0 }), '/settings/variants/a/width'],
  [variant({ width: 16_385, format: 'jpeg' }), '/settings/variants/a/width'],
  [variant({ width: 16_384, format: 'webp' }), '/settings/variants/a/width'],
  [variant({ width: 1.5 }), '/settings/variants/a/width'],
  [variant({ width: '200' }), '/settings/variants/a/width'],
  [variant({ width: null }), '/settings/variants/a/width'],
  [variant({ height: -1 }), '/settings/variants/a/height'],
  [variant({ fit: 'crop' }), '/settings/variants/a/fit'],
  [variant({ format: 'jpg' }), '/settings/variants/a/format'],
  [variant({ quality: 0 }), '/settings/variants/a/quality'],
  [variant({ quality: 101 }), '/settings/variants/a/quality'],
  [variant({ lazy: 'yes' }), '/settings/variants/a/lazy'],
  [variant({ colour: 3 }), '/settings/variants/a/colour'],
  [variant({ blur: 0 }), '/settings/variants/a/blur'],
  [variant({ crop: { left: 0, top: 0, width: 0, height: 5 } }), '/settings/variants/a/crop'],
  [variant({ background: 'red' }), '/settings/variants/a/background'],
  [variant({ position: 'middle' }), '/settings/variants/a/position'],
  [variant({ rotate: 45 }), '/settings/variants/a/rotate'],
  [variant({ dpr: 5 }), '/settings/variants/a/dpr'],
  [variant({ watermark: { fileId: 'x' } }), '/settings/variants/a/watermark'],
  [variant({ format: 'jpeg', lossless: true }), '/settings/variants/a/lossless'],
  [variant({ format: 'png', maxBytes: 1000 }), '/settings/variants/a/maxBytes'],
  [variant({ format: 'webp', effort: 7 }), '/settings/variants/a/effort'],
  [
    { variants: Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`v${n}`, { width: 1 }])) },
    '/settings/variants',
  ],
  [{ quota: null }, '/settings/quota'],
  [{ quota: { bytes: -1 } }, '/settings/quota/bytes'],
  [{ quota: { bytes: '1GB' } }, '/settings/quota/bytes'],
  [{ quota: { bytes: 2 ** 53 } }, '/settings/quota/bytes'],
  [{ quota: { files: 0.5 } }, '/settings/quota/files'],
  [{ quota: { bytesPerUpload: 0 } }, '/settings/quota/bytesPerUpload'],
  [{ quota: { pixels: 1 } }, '/settings/quota/pixels'],
  [{ allowedTypes: 'image/*' }, '/settings/allowedTypes'],
  [{ allowedTypes: [] }, '/settings/allowedTypes'],
  [{ allowedTypes: ['image/png', 'png'] }, '/settings/allowedTypes/1'],
  [{ allowedTypes: ['*/png'] }, '/settings/allowedTypes/0'],
  [{ allowedTypes: ['image/png; q=1'] }, '/settings/allowedTypes/0'],
  [{ allowedTypes: ['image/png\u0000'] }, '/settings/allowedTypes/0'],
  [{ allowedTypes: [null] }, '/settings/allowedTypes/0'],
  [{ allowedTypes: Array.from({ length: 101 }, (_, n) => `image/x${n}`) }, '/settings/allowedTypes'],
  [{ visibility: 'Public' }, '/settings/visibility'],
  [{ visibility: null }, '/settings/visibility'],
  [{ delivery: { mode: 'direct' } }, '/settings/delivery/mode'],
  [{ delivery: { fallback: null } }, '/settings/delivery/fallback'],
  [{ delivery: { cacheSeconds: -1 } }, '/settings/delivery/cacheSeconds'],
  [{ delivery: { cacheSeconds: 31_536_001 } }, '/settings/delivery/cacheSeconds'],
  [{ delivery: { cdn: 'x' } }, '/settings/delivery/cdn'],
];

const right: readonly unknown[] = [
  {},
  { variants: {} },
  { variants: { constructor: { height: 16_384, format: 'avif', fit: 'outside', quality: 1, lazy: true } } },
  { quota: { bytes: 0, files: null, bytesPerUpload: 1 } },
  { allowedTypes: ['IMAGE/PNG', 'image/*', 'application/vnd.ms-excel', 'image/svg+xml', '*/*'] },
  { visibility: 'public', delivery: { mode: 'proxy', fallback: 'none', cacheSeconds: 0 } },
];

describe('settings of a person', () => {
  it.each(wrong)('%j are refused at %s', (patch, pointer) => {
    expect(faultsOf(patch)).toEqual([pointer]);
  });

  it('are told every fault at once', () => {
    expect(
      faultsOf({
        visibility: 1,
        quota: { bytes: 'x', y: 1 },
        variants: { A: { width: 0, fit: 2 } },
      }).toSorted(),
    ).toEqual([
      '/settings/quota/bytes',
      '/settings/quota/y',
      '/settings/variants/A',
      '/settings/variants/A/fit',
      '/settings/variants/A/width',
      '/settings/visibility',
    ]);
  });

  it('cannot make an endless answer', () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`m${n}`, 1]));
    expect(faultsOf(many)).toHaveLength(50);
    expect(faultsOf({ ['x'.repeat(100_000)]: 1 })[0]?.length).toBeLessThan(200);
  });

  it.each(right)('%j are taken', (patch) => {
    expect(faultsOf(patch)).toEqual([]);
  });

  it('replace top-level members as wholes and leave the others', () => {
    const current = checkSettings({
      visibility: 'public',
      quota: { bytes: 5, files: 6 },
      delivery: { mode: 'proxy' },
    });
    const changed = checkSettings({ quota: { files: 7 }, variants: { a: { width: 1 } } }, current);
    expect(changed).toEqual({
      ...current,
      quota: { bytes: null, files: 7, bytesPerUpload: null },
      variants: { a: { width: 1, fit: 'inside', format: 'webp' } },
    });
  });

  it('name types once and in lower case', () => {
    expect(checkSettings({ allowedTypes: ['Image/PNG', 'image/png'] }).allowedTypes).toEqual(['image/png']);
  });

  it('have the three variants of the roadmap by default', () => {
    expect(defaultSettings().variants).toEqual({
      thumbnail: { width: 200, height: 200, fit: 'cover', format: 'webp' },
      medium: { width: 800, height: 800, fit: 'inside', format: 'webp' },
      large: { width: 1600, height: 1600, fit: 'inside', format: 'jpeg' },
    });
  });

  it('find nothing under names that objects inherit', () => {
    for (const settings of [defaultSettings(), checkSettings({ variants: {} }), readSettings({})]) {
      expect(settings.variants['constructor']).toBeUndefined();
      expect(settings.variants['toString']).toBeUndefined();
    }
  });
});

describe('stored settings', () => {
  it('come back as they were written', () => {
    for (const patch of right) {
      const settings = checkSettings(patch);
      expect(readSettings(JSON.parse(JSON.stringify(settings)))).toEqual(settings);
    }
  });

  it('are completed with today’s defaults, without what a newer version added', () => {
    expect(readSettings({ quota: { bytes: 1, watts: 2 }, theme: 'dark' })).toEqual({
      ...defaultSettings(),
      quota: { bytes: 1, files: null, bytesPerUpload: null },
    });
  });

  it('that are damaged are not taken for others', () => {
    expect(() => readSettings({ visibility: 'everybody' })).toThrow('/visibility');
    expect(() => readSettings('{}')).toThrow(TypeError);
  });
});

describe('the documented schema', () => {
  const fits = new Ajv({ strict: false }).compile(SettingsInput);

  it.each(right)('takes %j too', (patch) => {
    expect(fits(patch)).toBe(true);
  });

  it('refuses nothing that the check takes', () => {
    for (const [patch] of wrong) {
      if (!fits(patch)) expect(faultsOf(patch)).not.toEqual([]);
    }
  });
});
