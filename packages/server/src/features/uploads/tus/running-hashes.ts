import { createHash, type Hash } from 'node:crypto';

import { LRUCache } from 'lru-cache';

/**
 * SHA-256 of uploads whose bytes have all come by this process, in order: their blob need not be read again at the
 * end. Node.js cannot save the state of a hash, so another process, or this one after a restart, has none.
 */
export interface RunningHashes {
  /** The hash of the first `offset` bytes, for the caller to go on with; undefined when it is not known here. */
  take(uploadId: string, offset: number): Hash | undefined;
  keep(uploadId: string, offset: number, hash: Hash): void;
}

/** Uploads that rest between two requests; each has half a kilobyte. */
const kept = 10_000;

export function createRunningHashes(): RunningHashes {
  const hashes = new LRUCache<string, { readonly offset: number; readonly hash: Hash }>({ max: kept });
  return {
    take(uploadId, offset) {
      if (offset === 0) return createHash('sha256');
      const known = hashes.get(uploadId);
      hashes.delete(uploadId);
      return known?.offset === offset ? known.hash : undefined;
    },
    keep(uploadId, offset, hash) {
      hashes.set(uploadId, { offset, hash });
    },
  };
}
