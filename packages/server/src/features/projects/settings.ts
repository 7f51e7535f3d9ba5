import { isVariantName } from '../../foundation/blobs/keys.js';
import type { AskedRecipe } from '../../foundation/imaging/recipe.js';
import { maxSide, readRecipe, recipeMembers } from '../../foundation/imaging/vocabulary.js';
import { isOrigin } from '../../foundation/http/origin.js';
import { Problem } from '../../foundation/problems.js';
import { FaultList, readBoolean, readChoice, readInteger, readMembers } from './faults.js';

/** How one variant is made; `lazy` ones are made when they are first asked for. */
export interface VariantSettings extends AskedRecipe {
  readonly lazy?: boolean;
}

export const visibilities = ['private', 'public'] as const;
export const deliveryModes = ['auto', 'redirect', 'proxy'] as const;
export const fallbacks = ['original', 'placeholder', 'none'] as const;

/** What a project may hold; null is no limit. Checked for uploads only. */
export interface QuotaSettings {
  readonly bytes: number | null;
  readonly files: number | null;
  readonly bytesPerUpload: number | null;
}

export interface DeliverySettings {
  /** Redirect to the store, send the bytes ourselves, or whatever the store can. */
  readonly mode: (typeof deliveryModes)[number];
  /** What a variant that is not ready answers with. */
  readonly fallback: (typeof fallbacks)[number];
  /** Seconds that a client may keep an answer without asking again. */
  readonly cacheSeconds: number;
}

/** Everything a project can set. Complete: what a project did not set holds today's default. */
export interface ProjectSettings {
  /** By variant name; has no prototype, so that a name such as `constructor` finds nothing. */
  readonly variants: Readonly<Record<string, VariantSettings>>;
  readonly quota: QuotaSettings;
  // Media types such as image/png, image/* or */*, lower case.
  readonly allowedTypes: readonly string[];
  /** Whether files are for everybody or for those with a credential. */
  readonly visibility: (typeof visibilities)[number];
  readonly delivery: DeliverySettings;
  /** Boxes, `640x480`, `640x` or `x480`, that pictures may be transformed to without a signature. */
  readonly allowedSizes: readonly string[];
  /** Origins, or `*`, whose pages may call the API about the project and its files. */
  readonly corsOrigins: readonly string[];
}

export const maxVariants = 50;
export const maxAllowedTypes = 100;
export const maxAllowedSizes = 100;
export const maxCorsOrigins = 50;
/** A year, the longest that caches keep anything (RFC 9111 leaves it open; clients cut there). */
export const maxCacheSeconds = 31_536_000;

// type/subtype, type/* or */*, with the names of RFC 6838 §4.2 in lower case.
const typePattern = /^(\*\/\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126}))$/;

/** `{width}x{height}`, one of which may be missing. */
const sizePattern = /^([1-9]\d{0,4})?x([1-9]\d{0,4})?$/;

export function defaultSettings(): ProjectSettings {
  return {
    variants: namedVariants([
      ['thumbnail', { width: 200, height: 200, fit: 'cover', format: 'webp' }],
      ['medium', { width: 800, height: 800, fit: 'inside', format: 'webp' }],
      ['large', { width: 1600, height: 1600, fit: 'inside', format: 'jpeg' }],
    ]),
    quota: { bytes: null, files: null, bytesPerUpload: null },
    allowedTypes: ['*/*'],
    visibility: 'private',
    delivery: { mode: 'auto', fallback: 'original', cacheSeconds: 3600 },
    allowedSizes: [],
    corsOrigins: [],
  };
}

/**
 * Completes stored settings with today's defaults. Members that this version does not know (a newer one
 * wrote them) are left out.
 *
 * @throws TypeError when a stored value is one that `checkSettings` would have refused.
 */
export function readSettings(json: unknown): ProjectSettings {
  const faults = new FaultList();
  const settings = read(json, defaultSettings(), '', faults, 'ignore');
  if (faults.list.length > 0) {
    throw new TypeError(`stored project settings are not valid: ${JSON.stringify(faults.list)}`);
  }
  return settings;
}

/**
 * Applies a person's changes. A top-level member that is given replaces the present one as a whole (what is
 * missing inside it takes its default); one that is not given stays.
 *
 * @param pointer where the patch stands in the request body.
 * @throws Problem `invalid-settings` that lists every fault.
 */
export function checkSettings(
  patch: unknown,
  current: ProjectSettings = defaultSettings(),
  pointer = '/settings',
): ProjectSettings {
  const faults = new FaultList();
  const settings = read(patch, current, pointer, faults, 'refuse');
  if (faults.list.length > 0) throw new Problem('invalid-settings', { errors: faults.list });
  return settings;
}

type Unknown = 'refuse' | 'ignore';

function read(
  value: unknown,
  current: ProjectSettings,
  at: string,
  faults: FaultList,
  unknown: Unknown,
): ProjectSettings {
  const names = [
    'variants',
    'quota',
    'allowedTypes',
    'visibility',
    'delivery',
    'allowedSizes',
    'corsOrigins',
  ] as const;
  const given = readMembers(value, names, at, faults, unknown);
  const defaults = defaultSettings();
  return {
    variants:
      given.variants === undefined
        ? current.variants
        : readVariants(given.variants, `${at}/variants`, faults, unknown),
    quota:
      given.quota === undefined
        ? current.quota
        : readQuota(given.quota, defaults.quota, `${at}/quota`, faults, unknown),
    allowedTypes:
      given.allowedTypes === undefined
        ? current.allowedTypes
        : readTypes(given.allowedTypes, `${at}/allowedTypes`, faults),
    visibility: readChoice(given.visibility, visibilities, current.visibility, `${at}/visibility`, faults),
    delivery:
      given.delivery === undefined
        ? current.delivery
        : readDelivery(given.delivery, defaults.delivery, `${at}/delivery`, faults, unknown),
    allowedSizes:
      given.allowedSizes === undefined
        ? current.allowedSizes
        : readSizes(given.allowedSizes, `${at}/allowedSizes`, faults),
    corsOrigins:
      given.corsOrigins === undefined
        ? current.corsOrigins
        : readOrigins(given.corsOrigins, `${at}/corsOrigins`, faults),
  };
}

function namedVariants(
  entries: readonly (readonly [string, VariantSettings])[],
): Readonly<Record<string, VariantSettings>> {
  const variants = Object.create(null) as Record<string, VariantSettings>;
  for (const [name, variant] of entries) variants[name] = variant;
  return variants;
}

function readVariants(value: unknown, at: string, faults: FaultList, unknown: Unknown) {
  const entries = Object.entries(readMembers(value, undefined, at, faults, unknown));
  if (entries.length > maxVariants) {
    faults.add(at, `has ${entries.length} variants; at most ${maxVariants} are allowed`);
    return namedVariants([]);
  }
  return namedVariants(
    entries.map(([name, variant]) => {
      const here = faults.below(at, name);
      if (!isVariantName(name)) {
        faults.add(
          here,
          'is not a variant name: 1–32 of a–z, 0–9 and “-”, beginning with a letter, and neither “files” nor “adhoc-…”',
        );
      }
      return [name, readVariant(variant, here, faults, unknown)];
    }),
  );
}

function readVariant(value: unknown, at: string, faults: FaultList, unknown: Unknown): VariantSettings {
  const before = faults.list.length;
  const { lazy: given, ...members } = readMembers(value, [...recipeMembers, 'lazy'], at, faults, unknown);
  const lazy = readBoolean(given, undefined, `${at}/lazy`, faults);
  const read = readRecipe(members);
  if ('recipe' in read) return lazy === undefined ? read.recipe : { ...read.recipe, lazy };
  for (const { member, detail } of read.faults) {
    if (member !== undefined) faults.add(`${at}/${member}`, detail);
    // What is missing is told only of a recipe in which nothing else is wrong.
    else if (faults.list.length === before) faults.add(at, detail);
  }
  // In place of what has just been refused.
  return { fit: 'inside', format: 'webp' };
}

function readQuota(
  value: unknown,
  defaults: QuotaSettings,
  at: string,
  faults: FaultList,
  unknown: Unknown,
): QuotaSettings {
  const given = readMembers(value, ['bytes', 'files', 'bytesPerUpload'] as const, at, faults, unknown);
  const amount = (name: keyof QuotaSettings, min: number) =>
    given[name] === null
      ? null
      : readInteger(
          given[name],
          { min, max: Number.MAX_SAFE_INTEGER, orNull: true },
          defaults[name],
          `${at}/${name}`,
          faults,
        );
  return {
    bytes: amount('bytes', 0),
    files: amount('files', 0),
    bytesPerUpload: amount('bytesPerUpload', 1),
  };
}

function readTypes(value: unknown, at: string, faults: FaultList): readonly string[] {
  const items = readList(value, maxAllowedTypes, 'media types', at, faults);
  if (items?.length === 0) faults.add(at, 'must name at least one media type');
  const types = (items ?? []).map((item, index) => {
    const type = typeof item === 'string' ? item.toLowerCase() : '';
    if (!typePattern.test(type)) {
      faults.add(`${at}/${index}`, 'must be a media type such as “image/png”, “image/*” or “*/*”');
    }
    return type;
  });
  return [...new Set(types)];
}

function readSizes(value: unknown, at: string, faults: FaultList): readonly string[] {
  const sizes = (readList(value, maxAllowedSizes, 'sizes', at, faults) ?? []).map((item, index) => {
    const size = typeof item === 'string' ? item : '';
    const sides = sizePattern.test(size) ? size.split('x').filter((side) => side !== '') : [];
    if (sides.length === 0 || sides.some((side) => Number(side) > maxSide)) {
      faults.add(
        `${at}/${index}`,
        `must be a size such as “640x480”, “640x” or “x480”, no side over ${maxSide}`,
      );
    }
    return size;
  });
  return [...new Set(sizes)];
}

function readOrigins(value: unknown, at: string, faults: FaultList): readonly string[] {
  const origins = (readList(value, maxCorsOrigins, 'origins', at, faults) ?? []).map((item, index) => {
    const origin = typeof item === 'string' ? item : '';
    if (origin !== '*' && !isOrigin(origin)) {
      faults.add(`${at}/${index}`, 'must be an origin such as “https://app.example.com”, or “*”');
    }
    return origin;
  });
  return [...new Set(origins)];
}

/** Reads a list; what is none, or too long, is a fault and undefined. */
function readList(
  value: unknown,
  most: number,
  what: string,
  at: string,
  faults: FaultList,
): readonly unknown[] | undefined {
  if (!Array.isArray(value)) {
    faults.add(at, `must be a list of ${what}`);
    return undefined;
  }
  const items: readonly unknown[] = value;
  if (items.length <= most) return items;
  faults.add(at, `has ${items.length} items; at most ${most} are allowed`);
  return undefined;
}

function readDelivery(
  value: unknown,
  defaults: DeliverySettings,
  at: string,
  faults: FaultList,
  unknown: Unknown,
): DeliverySettings {
  const given = readMembers(value, ['mode', 'fallback', 'cacheSeconds'] as const, at, faults, unknown);
  const seconds = { min: 0, max: maxCacheSeconds };
  return {
    mode: readChoice(given.mode, deliveryModes, defaults.mode, `${at}/mode`, faults),
    fallback: readChoice(given.fallback, fallbacks, defaults.fallback, `${at}/fallback`, faults),
    cacheSeconds: readInteger(
      given.cacheSeconds,
      seconds,
      defaults.cacheSeconds,
      `${at}/cacheSeconds`,
      faults,
    ),
  };
}
