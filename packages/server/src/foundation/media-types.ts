import { fileTypeFromBuffer } from 'file-type';

/** What the first bytes of a file say it is; neither a name nor a Content-Type is believed. */
export interface DetectedType {
  /** Media type without parameters, lower case. */
  readonly mime: string;
  /** Extension without the dot, `^[a-z0-9]{1,10}$`; it becomes the end of the blob's key. */
  readonly extension: string;
}

/** How many first bytes `detectType` looks at. */
export const sniffedBytes = 4096;

const unknown: DetectedType = { mime: 'application/octet-stream', extension: 'bin' };
const plainText: DetectedType = { mime: 'text/plain', extension: 'txt' };
const html: DetectedType = { mime: 'text/html', extension: 'html' };
const svg: DetectedType = { mime: 'image/svg+xml', extension: 'svg' };
const xml: DetectedType = { mime: 'application/xml', extension: 'xml' };

/** Types whose files may consist of text alone, so that their magic is believed in a text. */
const writtenAsText = new Set([
  'application/pdf',
  'application/postscript',
  'application/eps',
  'application/rtf',
  'text/calendar',
  'text/vcard',
  'text/vtt',
]);

/**
 * Detects a type from a file's first bytes (`sniffedBytes` of them, or all when there are fewer). Where the bytes
 * can be read as two types, the one with fewer rights wins: a page that is also a picture is a page, which is never
 * shown inline. Never throws; what nobody recognises is `application/octet-stream`.
 */
export async function detectType(head: Buffer): Promise<DetectedType> {
  const bytes = head.subarray(0, sniffedBytes);
  if (bytes.length === 0) return unknown;
  const text = asText(bytes);
  const markup = text === undefined ? undefined : markupOf(text);
  if (markup) return markup;

  const found = await signatureOf(bytes);
  if (text !== undefined) {
    // Short signatures occur in prose: a text that begins with "BM" is no bitmap.
    return found && writtenAsText.has(found.mime) ? found : plainText;
  }
  if (!found) return unknown;
  return mayBeShown.test(found.mime) && holdsPage(bytes) ? html : found;
}

/** Pictures whose header is read while they arrive. */
const decodable = new Set(['image/jpeg', 'image/png', 'image/apng', 'image/webp', 'image/gif', 'image/avif']);

/** True for every still or animated picture, whether or not it can be decoded here. */
export function isPicture(mime: string): boolean {
  return mime.startsWith('image/');
}

/**
 * True for the pictures that are decoded here, so that their pixels can be counted at the door. The others (HEIC, TIFF,
 * BMP, JPEG XL) are stored, and their variants fail with `unsupported-codec`; so are drawings (SVG), which have no pixels
 * and which only workers open, where a setting allows it.
 */
export function isDecodable(mime: string): boolean {
  return decodable.has(mime);
}

const mayBeShown = /^(image|video|audio)\//;

/**
 * True when a binary head holds what only a web page has. A picture's own metadata (XMP) is XML and escapes such
 * tags; by chance they occur in one of 10¹² compressed heads.
 */
function holdsPage(bytes: Buffer): boolean {
  return /<!doctype\s+html|<html[\s>]|<script[\s>]|<iframe[\s>]|<body[\s>]/i.test(bytes.toString('latin1'));
}

async function signatureOf(bytes: Buffer): Promise<DetectedType | undefined> {
  let found: { readonly mime: string; readonly ext: string } | undefined;
  try {
    found = await fileTypeFromBuffer(bytes);
  } catch {
    // The parsers of container formats may trip over a broken or cut head: then nobody knows what it is.
    return undefined;
  }
  if (!found) return undefined;
  const mime = found.mime.split(';', 1)[0]?.trim().toLowerCase() ?? unknown.mime;
  const extension = found.ext.split('.').at(-1)?.toLowerCase() ?? unknown.extension;
  return { mime, extension: /^[a-z0-9]{1,10}$/.test(extension) ? extension : unknown.extension };
}

/** The head as text, or undefined when it holds binary data (WHATWG MIME Sniffing §3, "binary data byte"). */
function asText(bytes: Buffer): string | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return bytes.toString('utf16le', 2);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) {
    const even = Buffer.from(bytes.subarray(2, bytes.length - (bytes.length % 2)));
    return even.swap16().toString('utf16le');
  }
  for (const byte of bytes) {
    const control = byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0c && byte !== 0x0d;
    if (control && byte !== 0x1b) return undefined;
  }
  return bytes.toString('utf8').replace(/^\uFEFF/, '');
}

/** Tags that make a browser take a text for a page when they come first (WHATWG MIME Sniffing §7.1). */
const pageStart =
  /^<(?:!doctype\s+html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[\s/>]/i;
const prolog = /^(?:\s+|<\?[^]*?\?>|<!--[^]*?-->|<!doctype\s+(?!html)[^[>]*(?:\[[^]*?\]\s*)?>)/i;

/** Which markup a text is, if any: what stands first after declarations, comments and white space decides. */
function markupOf(text: string): DetectedType | undefined {
  const start = text.trimStart();
  let rest = start;
  for (let found = prolog.exec(rest); found; found = prolog.exec(rest)) {
    rest = rest.slice(found[0].length);
  }
  if (pageStart.test(rest)) return html;
  // XHTML and SVG carry scripts under any prefix.
  const root = /^<(?:[\w.-]+:)?([a-z]+)[\s/>]/i.exec(rest)?.[1]?.toLowerCase();
  if (root === 'svg') return svg;
  if (root === 'html') return html;
  if (start.startsWith('<?xml')) return xml;
  // A comment of 4 KiB hides what follows; browsers take it for a page, and so do we.
  if (start.startsWith('<!--')) return html;
  return undefined;
}
