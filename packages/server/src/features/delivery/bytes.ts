import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

import {
  BlobMissing,
  BlobTruncated,
  StoreUnavailable,
  type Blob,
  type BlobStore,
} from '../../foundation/blobs/blob-store.js';
import { Problem } from '../../foundation/problems.js';
import { BlobAltered, assertIntact, type BlobMemory } from './blob-memory.js';
import type { LentBuffers } from './lent-buffers.js';
import type { Source } from './source.js';

/** Answers up to this size are read whole before their header goes out: cheaper than a stream, and never cut. */
const wholeReadBytes = 256 * 1024;

export interface BytesOptions {
  readonly blobs: BlobStore;
  readonly memory: BlobMemory;
  /** Answers that nobody keeps are read into these; whoever has sent one gives it back. */
  readonly buffers: LentBuffers;
  /** Compare whole answers with the row's SHA-256 while they are sent. */
  readonly verify: boolean;
  /** Counts bytes that cannot be sent as their row promises. */
  readonly onFault: (kind: BlobFault) => void;
}

/** What is wrong with bytes in the store; `broken`: they ended, or changed, after the header was out. */
export type BlobFault = 'missing' | 'truncated' | 'altered' | 'unavailable' | 'broken';

/**
 * Opens stored bytes for an answer whose length is promised by the row. What the store holds must have that
 * length, or nothing is sent; a stream that ends early errors, which ends the connection.
 *
 * @throws Problem `blob-unavailable` for missing or cut bytes, `service-unavailable` when the store is out of reach.
 */
export async function openBytes(
  options: BytesOptions,
  source: Pick<Source, 'key' | 'size' | 'sha256'>,
  range: { readonly start: number; readonly end: number } | undefined,
): Promise<Buffer | Readable> {
  const { memory, verify, buffers } = options;
  if (memory.takes(source.size)) {
    const readAll = async (lent?: LentBuffers): Promise<Buffer> => {
      const bytes = await open(options.blobs, source, undefined, lent);
      return Buffer.isBuffer(bytes) ? bytes : buffer(bytes);
    };
    try {
      let whole = memory.peek(source);
      if (!whole && memory.isWanted(source)) whole = await memory.get(source, () => readAll());
      if (!whole) {
        // Not kept, and compared all the same: with a memory, small bytes that were altered are never sent.
        whole = await readAll(buffers);
        assertIntact(whole, source);
      }
      return range ? whole.subarray(range.start, range.end + 1) : whole;
    } catch (error) {
      throw told(options, error);
    }
  }
  const bytes = await open(options.blobs, source, range, buffers).catch((error: unknown) => {
    throw told(options, error);
  });
  if (!verify || range) return bytes;
  if (!Buffer.isBuffer(bytes)) {
    const checked = Readable.from(verified(bytes, source), { objectMode: false });
    // A generator that nobody has begun to read cleans nothing up.
    checked.once('close', () => bytes.destroy());
    return checked;
  }
  try {
    assertIntact(bytes, source);
  } catch (error) {
    throw told(options, error);
  }
  return bytes;
}

/** Passes a whole blob on and holds its last chunk back until the hash of all is known to be right. */
async function* verified(
  body: Readable,
  source: Pick<Source, 'sha256'>,
): AsyncGenerator<Buffer, void, undefined> {
  const hash = createHash('sha256');
  let held: Buffer | undefined;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    if (held) yield held;
    hash.update(chunk);
    held = chunk;
  }
  if (!hash.digest().equals(source.sha256)) {
    throw new BlobAltered('the store holds other bytes than the row says');
  }
  if (held) yield held;
}

async function open(
  blobs: BlobStore,
  source: Pick<Source, 'key' | 'size'>,
  range: { readonly start: number; readonly end: number } | undefined,
  buffers?: LentBuffers,
): Promise<Buffer | Readable> {
  const length = range ? range.end - range.start + 1 : source.size;
  const blob = await blobs.get(source.key, {
    ...(range ? { range } : {}),
    ...(buffers ? { lend: (size: number) => buffers.lend(size) } : {}),
  });
  if (blob.size !== source.size) {
    if (!blob.bytes) blob.body.destroy();
    throw new BlobTruncated(`the store holds ${blob.size} bytes of ${source.size}`, source.key);
  }
  if (blob.bytes) return blob.bytes;
  if (length <= wholeReadBytes) return await readWhole(blob, length);
  // With the first bytes in hand the header may go out; what fails before them is still a problem document.
  await once(blob.body, 'readable');
  return blob.body;
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

/** Counts a fault, and makes a problem of it. */
function told({ onFault }: BytesOptions, error: unknown): unknown {
  const kind = faultOf(error);
  if (kind !== undefined) onFault(kind);
  return translate(error);
}

/** Undefined for what is no fault of the store. */
function faultOf(error: unknown): BlobFault | undefined {
  if (error instanceof BlobAltered) return 'altered';
  if (error instanceof BlobMissing) return 'missing';
  if (error instanceof BlobTruncated || error instanceof RangeError) return 'truncated';
  return error instanceof StoreUnavailable ? 'unavailable' : undefined;
}

function translate(error: unknown): unknown {
  if (error instanceof BlobAltered) return new Problem('blob-unavailable', { cause: error });
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
