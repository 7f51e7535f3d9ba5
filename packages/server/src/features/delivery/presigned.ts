import { LRUCache } from 'lru-cache';

import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Source } from './source.js';

/** How the store is to send a blob when its URL is followed. */
export interface PresignWish {
  readonly contentDisposition: string;
  readonly cacheControl: string;
}

export interface Presigned {
  readonly url: string;
  /** Seconds since 1970 until which the URL works at least. */
  readonly until: number;
}

/** URLs by which the store itself sends blobs, equal within a window of time. */
export interface PresignedUrls {
  /** Whether the store is known to sign none. */
  readonly none: boolean;
  /** @param now seconds since 1970; resolves with undefined when the store signs none. */
  urlFor(source: Source, wish: PresignWish, now: number): Promise<Presigned | undefined>;
}

/** URLs are signed as of the beginning of such a window, so that within it they are equal, and browsers keep what is there. */
export const presignWindowSeconds = 15 * 60;
/** A URL kept in memory is handed out while it works for so many seconds more; then a new one is signed. */
const leastSeconds = 60;
/** A kilobyte each. */
const kept = 5_000;

/** Signing costs half a millisecond, two hundred times what looking it up does: a window's URL is signed once. */
export function createPresignedUrls(blobs: Pick<BlobStore, 'presignGet'>): PresignedUrls {
  const known = new LRUCache<string, Presigned>({ max: kept });
  let none = false;
  return {
    get none() {
      return none;
    },
    async urlFor({ key, mimeType }, { contentDisposition, cacheControl }, now) {
      const windowStart = Math.floor(now / presignWindowSeconds) * presignWindowSeconds;
      // No part of it holds a line break.
      const name = [key, String(windowStart), mimeType, contentDisposition, cacheControl].join('\n');
      const before = known.get(name);
      if (before && before.until - now >= leastSeconds) return before;
      const url = await blobs.presignGet(key, {
        signedAt: new Date(windowStart * 1000),
        // Works for at least one window after the last moment it is handed out.
        expiresIn: 2 * presignWindowSeconds,
        contentType: mimeType,
        contentDisposition,
        cacheControl,
      });
      if (url === undefined) {
        none = true;
        return undefined;
      }
      // Temporary credentials end a signature before its time.
      const lifetime = Number(new URL(url).searchParams.get('X-Amz-Expires') ?? 2 * presignWindowSeconds);
      const fresh = { url, until: windowStart + lifetime };
      known.set(name, fresh);
      return fresh;
    },
  };
}
