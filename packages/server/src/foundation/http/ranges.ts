/** What a `Range` header asks of a representation of known size. */
export type RangeRequest =
  | { readonly kind: 'whole' }
  /** First and last byte, both inclusive. */
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' };

const whole: RangeRequest = { kind: 'whole' };
const unsatisfiable: RangeRequest = { kind: 'unsatisfiable' };

/**
 * Reads a `Range` header (RFC 9110 §14.1.2). A single byte range is honoured. Several ranges, another unit and
 * anything malformed are ignored, which the standard allows, so the whole representation is sent: answers in
 * parts (multipart/byteranges) are a known amplifier and no media player needs them.
 */
export function readRange(header: string | undefined, size: number): RangeRequest {
  if (header === undefined) return whole;
  const match = /^bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*$/i.exec(header);
  if (!match) return whole;
  const [, first, last, suffix] = match;
  if (suffix !== undefined) {
    const length = Number(suffix);
    if (length === 0) return unsatisfiable;
    // An empty representation has no last byte to name in Content-Range.
    if (size === 0) return whole;
    return { kind: 'part', start: Math.max(0, size - length), end: size - 1 };
  }
  const start = Number(first);
  const end = last === '' || last === undefined ? Infinity : Number(last);
  if (end < start) return whole;
  if (start >= size) return unsatisfiable;
  return { kind: 'part', start, end: Math.min(end, size - 1) };
}
