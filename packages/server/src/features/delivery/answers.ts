import { contentSafetyHeaders } from '../../foundation/http/content-headers.js';
import type { Source } from './source.js';

/** What is to be sent; the bytes themselves are opened last. */
export interface ContentAnswer {
  readonly status: 200 | 206 | 302 | 304;
  readonly headers: Readonly<Record<string, string | number>>;
  /** Other clients may be sent another format under the same URL. */
  readonly varyOnAccept?: boolean;
  readonly body:
    | { readonly kind: 'none' }
    | { readonly kind: 'buffer'; readonly bytes: Buffer }
    | {
        readonly kind: 'blob';
        readonly source: Source;
        readonly range: { readonly start: number; readonly end: number } | undefined;
      };
}

export const nothing = { kind: 'none' } as const;

interface Whole {
  readonly caching: string;
  readonly disposition: string;
  readonly answer: ContentAnswer;
}

/** Nearly all requests are for whole bytes, and alike: their answer is made once for a row. */
const wholeAnswers = new WeakMap<Source, Whole>();

export function wholeAnswer(source: Source, caching: string, disposition: string): ContentAnswer {
  const known = wholeAnswers.get(source);
  if (known?.caching === caching && known.disposition === disposition) return known.answer;
  const answer: ContentAnswer = {
    status: 200,
    headers: {
      ...contentSafetyHeaders,
      etag: source.etag,
      'last-modified': source.modified,
      'cache-control': caching,
      'content-type': source.mimeType,
      'content-disposition': disposition,
      'accept-ranges': 'bytes',
      'content-length': source.size,
    },
    body: { kind: 'blob', source, range: undefined },
  };
  wholeAnswers.set(source, { caching, disposition, answer });
  return answer;
}

/**
 * Has nginx send the blob, ranges included (`X-Accel-Redirect`). Without a length of its own nginx would take the answer
 * for unfinished and drop its connection to us.
 */
export function accelHeaders(prefix: string, key: string): Record<string, string | number> {
  const path = key.split('/').map(encodeURIComponent).join('/');
  return { 'x-accel-redirect': `${prefix}${path}`, 'content-length': 0 };
}

/** A picture in place of one that is not made yet: it may not be kept. */
export function placeholderAnswer(bytes: Buffer): ContentAnswer {
  return {
    status: 200,
    headers: {
      ...contentSafetyHeaders,
      'cache-control': 'no-store',
      'x-variant-fallback': 'placeholder',
      'content-type': 'image/png',
      'content-disposition': 'inline',
      'content-length': bytes.length,
    },
    body: { kind: 'buffer', bytes },
  };
}
