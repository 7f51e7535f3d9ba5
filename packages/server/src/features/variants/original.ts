import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { BlobMissing, BlobTruncated, type BlobStore } from '../../foundation/blobs/blob-store.js';
import { OriginalUnavailable } from './failures.js';
import type { VariantFile } from './attempt-queries.js';

/**
 * Streams a file's original to a local path, never holding it in memory, and checks that it is what its row says.
 * @throws OriginalUnavailable when the blob is missing, short or holds other bytes.
 */
export async function fetchOriginal(
  blobs: BlobStore,
  file: Pick<VariantFile, 's3_key' | 'size' | 'sha256'>,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    const blob = await blobs.get(file.s3_key, { signal });
    await pipeline(
      blob.body,
      async function* (source: Readable) {
        for await (const chunk of source as AsyncIterable<Buffer>) {
          hash.update(chunk);
          size += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(path, { flags: 'wx', mode: 0o600 }),
      { signal },
    );
  } catch (error) {
    if (error instanceof BlobMissing || error instanceof BlobTruncated) {
      throw new OriginalUnavailable('the original is missing or cut in the store', { cause: error });
    }
    throw error;
  }
  if (size !== file.size || file.sha256 === null || !hash.digest().equals(file.sha256)) {
    throw new OriginalUnavailable(
      `the original in the store has other bytes (${size}) than its row says (${file.size})`,
    );
  }
}
