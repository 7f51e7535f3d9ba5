import { createHash } from 'node:crypto';

import { LRUCache } from 'lru-cache';

import type { Source } from './source.js';

/** Small blobs that are asked for again and again, kept in memory. */
export interface BlobMemory {
  /** Whether the blob is here, or has been asked for before: what is asked for once must not drive out what many want. */
  isWanted(source: Pick<Source, 'key'>): boolean;
  /** The bytes, when they are here already. */
  peek(source: Pick<Source, 'key'>): Buffer | undefined;
  /** The bytes when they are here; otherwise `read` brings them, once however many ask, and they are kept if they fit. */
  get(source: Pick<Source, 'key' | 'size' | 'sha256'>, read: () => Promise<Buffer>): Promise<Buffer>;
  /** Whether a blob of this size is kept at all. */
  takes(size: number): boolean;
}

/** Largest blob that is kept: 64 MiB hold some hundreds of them, or thousands of thumbnails. */
const largest = 256 * 1024;
/** Keys remembered of which one request has come, some 4 MB. */
const keptKeys = 20_000;
/** What an entry takes beside its bytes. */
const entryBytes = 512;

/** The bytes in the store are not those that the row speaks of. */
export class BlobAltered extends Error {
  override readonly name = 'BlobAltered';
}

/**
 * Keys are never used twice, so what is kept can never be old. It is compared with the row's SHA-256 when it comes in:
 * altered bytes are not sent a thousand times.
 * @param maxBytes of all that is kept; 0 keeps nothing.
 */
export function createBlobMemory(maxBytes: number): BlobMemory {
  const cache = new LRUCache<
    string,
    Buffer,
    { readonly source: Parameters<BlobMemory['get']>[0]; readonly read: () => Promise<Buffer> }
  >({
    maxSize: Math.max(1, maxBytes),
    // Evicted while it is being read, it is answered all the same, and not kept.
    ignoreFetchAbort: true,
    sizeCalculation: ({ length }) => length + entryBytes,
    fetchMethod: async (_key, _stale, { context: { source, read } }) => {
      const bytes = await read();
      assertIntact(bytes, source);
      return bytes;
    },
  });
  const asked = new LRUCache<string, true>({ max: keptKeys });
  const takes = (size: number): boolean => size <= largest && size + entryBytes <= maxBytes;
  return {
    takes,
    isWanted({ key }) {
      if (cache.has(key) || asked.has(key)) return true;
      asked.set(key, true);
      return false;
    },
    peek: ({ key }) => cache.get(key),
    async get(source, read) {
      if (!takes(source.size)) return read();
      const bytes = await cache.fetch(source.key, { context: { source, read } });
      return bytes ?? read();
    },
  };
}

/** @throws BlobAltered. */
export function assertIntact(bytes: Buffer, { sha256 }: Pick<Source, 'sha256'>): void {
  if (!createHash('sha256').update(bytes).digest().equals(sha256)) {
    throw new BlobAltered('the store holds other bytes than the row says');
  }
}
