import { BlobMissing, BlobTruncated, StoreFull, StoreUnavailable } from './foundation/blobs/blob-store.js';
import { isConnectionError, isStatementTimeout } from './foundation/database/errors.js';
import { Problem } from './foundation/problems.js';

/** Seconds that a client is asked to wait for the database or the store to come back. */
const retryAfter = 5;

/**
 * Gives the technical errors that any room may meet their problem. Undefined for a stranger, which is a fault of
 * ours and answers 500.
 */
export function translateError(error: unknown): Problem | undefined {
  if (error instanceof StoreFull) return new Problem('storage-full', { cause: error });
  if (error instanceof StoreUnavailable) {
    return new Problem('service-unavailable', {
      detail: 'The store cannot be reached.',
      retryAfter,
      cause: error,
    });
  }
  if (error instanceof BlobMissing || error instanceof BlobTruncated) {
    return new Problem('blob-unavailable', { cause: error });
  }
  if (isConnectionError(error)) {
    return new Problem('service-unavailable', {
      detail: 'The database cannot be reached.',
      retryAfter,
      cause: error,
    });
  }
  if (isStatementTimeout(error)) {
    return new Problem('overloaded', { detail: 'The database took too long.', retryAfter, cause: error });
  }
  return undefined;
}
