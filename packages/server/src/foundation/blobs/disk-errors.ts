import { BlobError, InvalidKey, StoreFull, StoreUnavailable } from './blob-store.js';

/** The `code` of a failed system call, such as `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** True when the error says that there is nothing at the path: no such name, or a file where a folder should be. */
export function isAbsent(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOENT' || errno === 'ENOTDIR';
}

/** What a failed system call on the store's folder means to the caller. */
export function storeError(error: unknown, key: string): BlobError {
  if (error instanceof BlobError) return error;
  const errno = errnoOf(error);
  const message = error instanceof Error ? error.message : String(error);
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new StoreFull(`the disk is full (${errno})`, key, { cause: error });
    case 'ENAMETOOLONG':
      return new InvalidKey('the key is too long for the file system', key, { cause: error });
    case 'EXDEV':
      return new StoreUnavailable(
        'another file system is mounted inside the blob folder; blobs cannot be moved into it',
        key,
        { cause: error },
      );
    default:
      return new StoreUnavailable(`the blob folder cannot be used: ${message}`, key, { cause: error });
  }
}
