import { BlobLengthMismatch, StoreFull, StoreUnavailable } from '../../foundation/blobs/blob-store.js';
import { Problem } from '../../foundation/problems.js';
import { UploadLost } from '../files/intake-queries.js';

/** The problem that a failure is to the client; what is none is left to the application. */
export function problemOf(error: unknown): unknown {
  if (error instanceof StoreFull) return new Problem('storage-full', { cause: error });
  if (error instanceof StoreUnavailable || error instanceof BlobLengthMismatch) {
    return new Problem('service-unavailable', {
      detail: 'The store did not take the bytes.',
      retryAfter: 5,
      cause: error,
    });
  }
  if (error instanceof UploadLost) {
    return new Problem('service-unavailable', {
      detail: 'The upload was taken for dead while it was under way.',
      retryAfter: 1,
      cause: error,
    });
  }
  return error;
}
