/**
 * The layout of the store. Keys are made of ids and checked names only, stand in a row before the first byte
 * is written, and are never reused: a later generation gets a key of its own.
 */
import { isId } from '../ids.js';
import { InvalidKey } from './blob-store.js';

/** `{projectId}/files/{fileId}.{ext}`, later generations `{fileId}.{n}.{ext}`. */
export function originalKey(projectId: string, fileId: string, extension: string, generation = 1): string {
  return `${checkedId(projectId)}/files/${fileName(fileId, extension, generation)}`;
}

/**
 * `{projectId}/{variant}/{fileId}.{ext}`, later generations `{fileId}.{n}.{ext}`. The folder of a variant whose format is
 * negotiated names the format too, `{variant}.avif`.
 */
export function variantKey(
  projectId: string,
  variant: string,
  fileId: string,
  extension: string,
  generation = 1,
): string {
  if (!isStoredName(variant)) throw new RangeError(`not a variant name: ${JSON.stringify(variant)}`);
  return `${checkedId(projectId)}/${variant}/${fileName(fileId, extension, generation)}`;
}

/**
 * `.staging/{uploadId}`: the bytes of an upload that takes several requests, until the file exists; with a number
 * `.staging/{uploadId}.{n}`, for bytes that are written anew now and then.
 */
export function stagingKey(uploadId: string, n?: number): string {
  return n === undefined ? `.staging/${checkedId(uploadId)}` : `.staging/${checkedId(uploadId)}.${n}`;
}

/** Names a project may give its variants. `files` is the folder of the originals, `adhoc-…` that of signed sizes. */
export function isVariantName(name: string): boolean {
  return /^[a-z][a-z0-9-]{0,31}$/.test(name) && name !== 'files' && !name.startsWith('adhoc-');
}

/** Names that a stored variant may have: also `adhoc-…`, and with a format behind a dot. */
function isStoredName(name: string): boolean {
  return /^[a-z][a-z0-9-]{0,31}(\.(jpeg|png|webp|avif|gif))?$/.test(name) && name.split('.')[0] !== 'files';
}

/** Extensions that a key may end in: chosen by us from the detected type, never taken from a file's name. */
export function isExtension(text: string): boolean {
  return /^[a-z0-9]{1,10}$/.test(text);
}

/** Where the sweep keeps blobs that no row names until they are removed: `.quarantine/{key}`. */
export const quarantineFolder = '.quarantine/';

/** What the layout makes of a key that a listing shows. */
export type Place =
  /** Bytes that a row should name. `projectId` is undefined for uploads under way. */
  | { readonly kind: 'blob'; readonly projectId: string | undefined }
  | { readonly kind: 'own' }
  /** `key` is where the blob was. */
  | { readonly kind: 'quarantine'; readonly key: string }
  /** Nothing that this program has made. */
  | { readonly kind: 'foreign' };

const fileNamePattern = /^([^.]+)(?:\.(?:[2-9]|[1-9]\d{1,14}))?\.([a-z0-9]{1,10})$/;
const stagingPattern = /^\.staging\/([^./]+)(?:\.\d{1,15})?$/;

/** Tells what a key is by its form alone; only keys of exactly our layout are not foreign. */
export function placeOf(key: string): Place {
  if (key.startsWith(ownFolder)) return { kind: 'own' };
  if (key.startsWith(quarantineFolder)) {
    const inside = key.slice(quarantineFolder.length);
    return placeOf(inside).kind === 'blob' ? { kind: 'quarantine', key: inside } : { kind: 'foreign' };
  }
  const staged = stagingPattern.exec(key)?.[1];
  if (staged !== undefined)
    return isId(staged) ? { kind: 'blob', projectId: undefined } : { kind: 'foreign' };
  const [projectId = '', folder = '', name = '', ...rest] = key.split('/');
  const fileId = fileNamePattern.exec(name)?.[1] ?? '';
  const ours =
    rest.length === 0 && isId(projectId) && isId(fileId) && (folder === 'files' || isStoredName(folder));
  return ours ? { kind: 'blob', projectId } : { kind: 'foreign' };
}

function fileName(fileId: string, extension: string, generation: number): string {
  if (!isExtension(extension)) throw new RangeError(`not an extension: ${JSON.stringify(extension)}`);
  if (!Number.isSafeInteger(generation) || generation < 1) {
    throw new RangeError(`not a generation: ${generation}`);
  }
  return generation === 1
    ? `${checkedId(fileId)}.${extension}`
    : `${checkedId(fileId)}.${generation}.${extension}`;
}

function checkedId(id: string): string {
  if (!isId(id)) throw new RangeError(`not an id: ${JSON.stringify(id)}`);
  return id;
}

/**
 * What the server keeps in the store for itself: its mark, its probes. No row names these keys; whatever goes
 * through a listing to find blobs without a row passes over them.
 */
export const ownFolder = '.mediablobkit/';

/** S3 takes 1,024 bytes; the rest is left to what a later layout puts in front (`.quarantine/…`). */
const maxKeyBytes = 900;
/** NAME_MAX of the usual file systems. */
const maxSegmentBytes = 255;
/** First segments that belong to the disk store and to the file system below it; no store takes them. */
const reservedRoots = new Set(['.tmp', '.multipart', 'lost+found']);
// Control characters cannot stand in the XML of S3 answers, a backslash is a separator on some systems, and a
// lone surrogate has no UTF-8.
const refusedCharacters = /[\p{Cc}\p{Cs}\\]/u;

/** Why the text is no key, as the end of a sentence; undefined for a key that every store takes. */
function faultOf(key: string): string | undefined {
  if (key === '') return 'is empty';
  if (refusedCharacters.test(key)) return 'holds a control character, a backslash or a lone surrogate';
  if (Buffer.byteLength(key) > maxKeyBytes) return `is longer than ${maxKeyBytes} bytes`;
  const segments = key.split('/');
  if (reservedRoots.has(segments[0] ?? '')) return `begins with the reserved folder ${segments[0]}`;
  for (const segment of segments) {
    if (segment === '') return 'begins or ends with a slash or has two in a row';
    if (segment === '.' || segment === '..') return 'holds a . or .. segment';
    if (Buffer.byteLength(segment) > maxSegmentBytes)
      return `has a segment longer than ${maxSegmentBytes} bytes`;
  }
  return undefined;
}

/** True for keys that every store takes. Listings leave out what is not one, since nothing could fetch it. */
export function isKey(text: string): boolean {
  return faultOf(text) === undefined;
}

/** Throws `InvalidKey` unless every store takes the key. */
export function assertKey(key: string): void {
  const fault = faultOf(key);
  if (fault !== undefined) throw new InvalidKey(`the key ${JSON.stringify(key.slice(0, 200))} ${fault}`, key);
}

/**
 * Orders keys as S3 lists them: by their UTF-8 bytes, which is the order of code points. JavaScript's own order
 * is that of UTF-16 units and differs where a surrogate (U+10000 and above) meets U+E000–FFFF.
 * Negative, zero or positive, as `Array.prototype.sort` wants it.
 */
export function compareKeys(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let index = 0; index < shorter; index++) {
    const unitA = a.charCodeAt(index);
    const unitB = b.charCodeAt(index);
    if (unitA !== unitB) return rank(unitA) - rank(unitB);
  }
  return a.length - b.length;
}

/** Lifts surrogates above the rest of the basic plane. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
