import type { Log } from '../log.js';
import type { BlobStore } from './blob-store.js';
import type { S3StoreOptions } from './s3.js';

/** Which store holds the blobs, and how it is reached. */
export type BlobStoreOptions =
  | {
      readonly backend: 'disk';
      /** Root of the disk store. */
      readonly folder: string;
      readonly log: Log;
    }
  | ({ readonly backend: 's3' } & S3StoreOptions);

/**
 * Opens the store. Each backend is loaded only when it is chosen: the AWS SDK takes longer to load than the rest
 * of the server, and the disk default should not wait for it.
 */
export async function openBlobStore(options: BlobStoreOptions): Promise<BlobStore> {
  if (options.backend === 'disk') {
    const { openDiskStore } = await import('./disk.js');
    return openDiskStore(options);
  }
  const { openS3Store } = await import('./s3.js');
  return openS3Store(options);
}
