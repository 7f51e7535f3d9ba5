import { strongTag } from '../../foundation/http/conditions.js';
import { dispositionHeader, mayShowInline } from '../../foundation/http/content-headers.js';
import type { ProjectSettings } from '../projects/settings.js';
import { isAdhoc, wishName } from '../variants/wanted.js';
import type { ContentRow } from './queries.js';

/** Stored bytes that can be sent: an original, or a variant that is ready. */
export interface Source {
  readonly key: string;
  readonly size: number;
  readonly sha256: Buffer;
  readonly mimeType: string;
  readonly lastModified: Date;
  /** Of the bytes, as a header says it. */
  readonly etag: string;
  /** `lastModified` as a header says it. */
  readonly modified: string;
  /** `Content-Disposition` when nobody asks for another: in place when the type is safe to show. */
  readonly disposition: string;
  /** Name a browser saves it under. */
  readonly name: string;
  /** The `v` of its public URL: equal versions, equal bytes, for ever. */
  readonly version: string;
}

/** The original of a file. */
export const originalOf = oncePerRow(({ file }): Source => {
  if (file.size === null || file.sha256 === null)
    throw new TypeError(`the file ${file.id} has no size or hash`);
  return sourceOf({
    key: file.s3_key,
    size: file.size,
    sha256: file.sha256,
    mimeType: file.mime_type,
    lastModified: file.created_at,
    name: file.filename,
    version: versionOf(file.generation),
  });
});

/** The variant of a row, when it is ready. */
export const readyVariantOf = oncePerRow(({ file, variant }): Source | undefined => {
  if (variant?.status !== 'ready') return undefined;
  const { s3_key: key, size, sha256, mime_type: mimeType } = variant;
  if (key === null || size === null || sha256 === null || mimeType === null) return undefined;
  return sourceOf({
    key,
    size,
    sha256,
    mimeType,
    lastModified: variant.updated_at,
    name: variantFileName(file.filename, variant.name, key),
    version:
      variant.commonGeneration === null
        ? versionOf(file.generation, key)
        : commonVersion(file.generation, variant.commonGeneration),
  });
});

function sourceOf(stored: Omit<Source, 'etag' | 'modified' | 'disposition'>): Source {
  const { sha256, lastModified, mimeType, name } = stored;
  return {
    ...stored,
    etag: strongTag(sha256),
    modified: lastModified.toUTCString(),
    disposition: dispositionHeader(mayShowInline(mimeType) ? 'inline' : 'attachment', name),
  };
}

/** A row is remembered for a second, and answers thousands of requests in it: what follows from it is made once. */
function oncePerRow<T>(make: (row: ContentRow) => T): (row: ContentRow) => T {
  const made = new WeakMap<ContentRow, { readonly value: T }>();
  return (row) => {
    let known = made.get(row);
    if (!known) made.set(row, (known = { value: make(row) }));
    return known.value;
  };
}

/**
 * The version of the bytes behind a URL: the generation of the file's content, and for a variant that of the key
 * it is served from. The row's own counter would not do: it runs ahead while a successor is being made.
 */
export function versionOf(fileGeneration: number, variantKey?: string): string {
  if (variantKey === undefined) return String(fileGeneration);
  return commonVersion(fileGeneration, generationOf(variantKey));
}

/** The version of all formats of a variant together, which share a URL. */
export function commonVersion(fileGeneration: number, highestGeneration: number): string {
  return `${fileGeneration}.${highestGeneration}`;
}

/** The generation that a key says. */
export function generationOf(key: string): number {
  return Number(/\.(\d+)\.[a-z0-9]+$/.exec(key)?.[1] ?? '1');
}

/**
 * `holiday.png` as the variant `medium` in WebP is saved as `holiday-medium.webp`; a transformation, whose name says
 * nothing to anybody, as `holiday.webp`.
 */
function variantFileName(filename: string, stored: string, key: string): string {
  const stem = filename.replace(/(?<=.)\.[A-Za-z0-9]{1,10}$/, '');
  const suffix = isAdhoc(stored) ? '' : `-${wishName(stored)}`;
  return `${stem}${suffix}${key.slice(key.lastIndexOf('.'))}`;
}

export type Visibility = ProjectSettings['visibility'];

/** Whether everybody may have the bytes: what the file says, else what its project says. */
export function visibilityOf({ file }: ContentRow, { visibility }: ProjectSettings): Visibility {
  return file.visibility === 'public' || file.visibility === 'private' ? file.visibility : visibility;
}
