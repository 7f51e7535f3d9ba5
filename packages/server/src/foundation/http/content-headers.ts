import contentDisposition from 'content-disposition';

/**
 * Sent with all bytes that people uploaded. Whatever they hold, a browser neither guesses another type, nor
 * runs a script, nor gives them our origin; any page may embed them.
 */
export const contentSafetyHeaders = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
  'cross-origin-resource-policy': 'cross-origin',
} as const;

/**
 * Types a browser may show in place. What can hold script (HTML, SVG, XML) is not among them. Neither is PDF:
 * the sandbox above keeps browsers from opening their viewer, so showing it would only show an error.
 */
const inlineTypes = new Set([
  'image/jpeg',
  'image/png',
  'image/webp',
  'image/gif',
  'image/avif',
  'image/apng',
  'image/bmp',
  'video/mp4',
  'video/webm',
  'video/ogg',
  'video/quicktime',
  'audio/mpeg',
  'audio/mp4',
  'audio/aac',
  'audio/ogg',
  'audio/opus',
  'audio/wav',
  'audio/webm',
  'audio/flac',
]);

/** Whether bytes of this type may be shown in place; everything else is sent as an attachment. */
export function mayShowInline(mimeType: string): boolean {
  return inlineTypes.has(mimeType);
}

/** Longest name in UTF-16 units that is sent; file systems take 255 bytes, and one unit can become three. */
const maxNameLength = 80;

/**
 * A `Content-Disposition` that no name can break out of (RFC 6266, RFC 8187): control and bidirectional marks
 * and path separators are dropped, an over-long name is cut before its extension.
 */
export function dispositionHeader(type: 'inline' | 'attachment', name: string): string {
  const safe = safeName(name);
  const extension = extensionOf(safe);
  const stem = safe.slice(0, safe.length - extension.length);
  const ascii = stem
    .normalize('NFKD')
    .replace(/[^\x20-\x7e]/g, '')
    .trim();
  // A name in another script leaves nothing or punctuation: say at least what kind of file it is.
  const fallback = (/[A-Za-z0-9]/.test(ascii) ? ascii : 'file') + extension;
  return contentDisposition(safe, { type, fallback });
}

// Control characters, lone surrogates, and format characters such as the marks that reverse reading direction.
const unsafeCharacters = /[\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}]/gu;

function safeName(name: string): string {
  const clean = name
    .replace(unsafeCharacters, '')
    .replace(/[/\\]/g, '_')
    .replace(/^[\s.]+|\s+$/g, '');
  const extension = extensionOf(clean);
  const stem = clean.slice(0, clean.length - extension.length);
  // Cut between characters, not inside one.
  const cut = [...stem.slice(0, maxNameLength - extension.length)].join('').replace(/\p{Cs}/gu, '');
  return cut + extension || 'file';
}

/** The last extension with its dot, or nothing; longer than ten letters it is no extension. */
function extensionOf(name: string): string {
  return /(?<=.)\.[A-Za-z0-9]{1,10}$/.exec(name)?.[0] ?? '';
}
