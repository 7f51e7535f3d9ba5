import { LRUCache } from 'lru-cache';

import type { Clock } from '../../foundation/clock.js';

export interface ProofCacheOptions<T extends object> {
  /** Asks the database; undefined: the credential proves nothing. */
  readonly find: (id: string) => Promise<T | undefined>;
  readonly clock: Clock;
}

/** What the database said of a credential, kept so briefly that revocation still works everywhere at once. */
export interface ProofCache<T extends object> {
  get(id: string): Promise<T | undefined>;
  /** Forgets what is known: after the commit that revoked it, the next request asks anew. */
  forget(id: string): void;
  forgetAll(): void;
}

/**
 * Milliseconds that an answer is believed. Revocation promises to reach other processes within one second;
 * the rest is left for the query itself.
 */
const maxAgeMs = 900;

/**
 * Remembers proofs for less than a second: a page of fifty pictures costs one look-up, and so do fifty
 * requests at once. A look-up under way when `forget` is called is answered but not kept.
 */
export function createProofCache<T extends object>({ find, clock }: ProofCacheOptions<T>): ProofCache<T> {
  const cache = new LRUCache<string, T>({
    max: 10_000,
    ttl: maxAgeMs,
    ttlResolution: 0,
    perf: { now: () => clock.now() },
    ignoreFetchAbort: true,
    fetchMethod: (id) => find(id),
  });
  return {
    get: (id) => cache.fetch(id),
    forget: (id) => {
      cache.delete(id);
    },
    forgetAll: () => cache.clear(),
  };
}
