import type { IncomingHttpHeaders } from 'node:http';

/** What identifies the bytes that would be sent now. */
export interface Validators {
  /** A strong entity tag with its quotes (RFC 9110 §8.8.3). */
  readonly etag: string;
  readonly lastModified: Date;
}

/** The entity tag of content with this SHA-256: equal bytes, equal tag, on every server. */
export function strongTag(sha256: Buffer): string {
  return `"${sha256.toString('base64url')}"`;
}

/**
 * Judges the conditions of a GET or HEAD in the order of RFC 9110 §13.2.2: tags come before dates, and a date
 * is not looked at when the header with tags is present.
 */
export function judgeConditions(
  headers: IncomingHttpHeaders,
  current: Validators,
): 'send' | 'not-modified' | 'precondition-failed' {
  const ifMatch = headers['if-match'];
  if (ifMatch !== undefined) {
    if (!matchesStrongly(ifMatch, current.etag)) return 'precondition-failed';
  } else {
    const unmodifiedSince = readDate(headers['if-unmodified-since']);
    if (unmodifiedSince !== undefined && seconds(current.lastModified) > unmodifiedSince)
      return 'precondition-failed';
  }
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined) return matchesWeakly(ifNoneMatch, current.etag) ? 'not-modified' : 'send';
  const modifiedSince = readDate(headers['if-modified-since']);
  return modifiedSince !== undefined && seconds(current.lastModified) <= modifiedSince
    ? 'not-modified'
    : 'send';
}

/**
 * Whether a `Range` counts: always without `If-Range`; with one only when it names exactly the current bytes.
 * A date is a strong enough validator only when it is at least a second old (RFC 9110 §8.8.2.2).
 */
export function rangeCounts(ifRange: string | undefined, current: Validators, now: Date): boolean {
  if (ifRange === undefined) return true;
  if (ifRange.includes('"')) return ifRange.trim() === current.etag;
  const date = readDate(ifRange);
  return date !== undefined && date === seconds(current.lastModified) && seconds(now) > date;
}

const entityTags = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;

function tagsOf(header: string): readonly string[] {
  return header.match(entityTags) ?? [];
}

function matchesWeakly(header: string, etag: string): boolean {
  if (header.trim() === '*') return true;
  return tagsOf(header).some((tag) => (tag.startsWith('W/') ? tag.slice(2) : tag) === etag);
}

function matchesStrongly(header: string, etag: string): boolean {
  if (header.trim() === '*') return true;
  return tagsOf(header).includes(etag);
}

const fixDate = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const rfc850Date = /^[A-Z][a-z]+, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/;
const asctimeDate = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/;

/**
 * Reads an HTTP date in any of the three forms that RFC 9110 §5.6.7 demands.
 * @returns whole seconds since the epoch; undefined for what is no HTTP date, which is then ignored.
 */
export function readDate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const trimmed = text.trim();
  let milliseconds = NaN;
  if (fixDate.test(trimmed) || rfc850Date.test(trimmed)) milliseconds = Date.parse(trimmed);
  else if (asctimeDate.test(trimmed)) milliseconds = Date.parse(`${trimmed} GMT`);
  return Number.isNaN(milliseconds) ? undefined : Math.floor(milliseconds / 1000);
}

function seconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}
