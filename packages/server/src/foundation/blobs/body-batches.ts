import { addAbortListener } from 'node:events';
import type { Readable } from 'node:stream';
import { BlobLengthMismatch } from './blob-store.js';

export interface BatchOptions {
  /** Bytes in each batch. */
  readonly batchBytes: number;
  /** True when every batch but the last has exactly `batchBytes`; false when a batch may end with its last chunk. */
  readonly exact: boolean;
  /** Declared length of the whole body. */
  readonly size?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a body into batches of chunks, so that a store makes one call per batch instead of one per chunk of
 * 64 KiB. Never holds more than one batch; reads on only when the next is asked for. An empty body has none.
 *
 * Throws `BlobLengthMismatch` as soon as the body is longer than declared, or at its end when it is shorter;
 * the signal's reason when aborted; otherwise the body's own error. The body is destroyed when this ends early.
 */
export async function* bodyBatches(
  body: Readable,
  key: string,
  { batchBytes, exact, size, signal }: BatchOptions,
): AsyncGenerator<readonly Buffer[], void, undefined> {
  const aborting = signal && addAbortListener(signal, () => body.destroy());
  let batch: Buffer[] = [];
  let batched = 0;
  let total = 0;
  try {
    for await (const chunk of body) {
      let rest = bytesOf(chunk);
      total += rest.length;
      if (size !== undefined && total > size) throw mismatch(key, size, `at least ${total}`);
      while (exact && batched + rest.length > batchBytes) {
        const head = rest.subarray(0, batchBytes - batched);
        rest = rest.subarray(head.length);
        batch.push(head);
        yield batch;
        batch = [];
        batched = 0;
      }
      if (rest.length === 0) continue;
      batch.push(rest);
      batched += rest.length;
      if (batched >= batchBytes) {
        yield batch;
        batch = [];
        batched = 0;
      }
    }
    // Destroying a body that had just ended is no error to its iterator.
    signal?.throwIfAborted();
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    aborting?.[Symbol.dispose]();
  }
  if (size !== undefined && total !== size) throw mismatch(key, size, String(total));
  if (batched > 0) yield batch;
}

function bytesOf(chunk: unknown): Buffer {
  if (Buffer.isBuffer(chunk)) return chunk;
  if (typeof chunk === 'string') return Buffer.from(chunk);
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError('the body of a put delivers something that is not bytes');
}

/** The error of a body that is not as long as declared. */
export function mismatch(key: string, declared: number, actual: string): BlobLengthMismatch {
  return new BlobLengthMismatch(`the body has ${actual} bytes instead of the declared ${declared}`, key);
}
