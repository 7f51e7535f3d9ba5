import { once } from 'node:events';
import type { Readable } from 'node:stream';

import {
  BlobMissing,
  BlobTruncated,
  StoreUnavailable,
  type Blob,
  type BlobStore,
} from '../../foundation/blobs/blob-store.js';
import { Problem } from '../../foundation/problems.js';
import type { Source } from './source.js';

/** Answers up to this size are read whole before their header goes out: cheaper than a stream, and never cut. */
const wholeReadBytes = 256 * 1024;

/**
 * Opens stored bytes for an answer whose length is promised by the row. What the store holds must have that
 * length, or nothing is sent; a stream that ends early errors, which ends the connection.
 *
 * @throws Problem `blob-unavailable` for missing or cut bytes, `service-unavailable` when the store is out of reach.
 */
export async function openBytes(
  blobs: BlobStore,
  source: Pick<Source, 'key' | 'size'>,
  range: { readonly start: number; readonly end: number } | undefined,
): Promise<Buffer | Readable> {
  const length = range ? range.end - range.start + 1 : source.size;
  try {
    const blob = await blobs.get(source.key, range ? { range } : {});
    if (blob.size !== source.size) {
      blob.body.destroy();
      throw new BlobTruncated(`the store holds ${blob.size} bytes of ${source.size}`, source.key);
    }
    if (length <= wholeReadBytes) return await readWhole(blob, length);
    // With the first bytes in hand the header may go out; what fails before them is still a problem document.
    await once(blob.body, 'readable');
    return blob.body;
  } catch (error) {
    throw translate(error);
  }
}

async function readWhole({ body, key }: Blob, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
  }
  if (size !== length) throw new BlobTruncated(`the store sent ${size} bytes of ${length}`, key);
  const [first] = chunks;
  return first && chunks.length === 1 ? first : Buffer.concat(chunks, size);
}

function translate(error: unknown): unknown {
  // A range that the row allows and the store refuses is a blob that has been cut.
  if (error instanceof BlobMissing || error instanceof BlobTruncated || error instanceof RangeError) {
    return new Problem('blob-unavailable', { cause: error });
  }
  if (error instanceof StoreUnavailable) {
    return new Problem('service-unavailable', {
      detail: 'The store cannot be reached.',
      retryAfter: 5,
      cause: error,
    });
  }
  return error;
}
