import { addAbortSignal, Readable, Transform, type TransformCallback } from 'node:stream';
import { BlobTruncated, type GetOptions } from './blob-store.js';

/** The part of a blob that a get delivers. */
export interface Window {
  readonly start: number;
  readonly length: number;
}

/** Throws `RangeError` for a range that is none. Both ends are inclusive, so the shortest has one byte. */
export function assertRange(range: GetOptions['range']): void {
  if (!range) return;
  const { start, end } = range;
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new RangeError(`not a byte range: ${start}-${end}`);
  }
}

/** The window of a range in a blob of `size` bytes; `BlobTruncated` when the blob ends before the range does. */
export function windowOf(range: GetOptions['range'], size: number, key: string): Window {
  if (!range) return { start: 0, length: size };
  if (range.end >= size)
    throw truncated(key, `it has ${size} bytes, bytes ${range.start}-${range.end} were wanted`);
  return { start: range.start, length: range.end - range.start + 1 };
}

export function truncated(key: string, why: string, cause?: unknown): BlobTruncated {
  return new BlobTruncated(`the blob is shorter than it should be: ${why}`, key, { cause });
}

/** A body that is already in memory. */
export function bodyOfBuffer(bytes: Buffer): Readable {
  return new Readable({
    read() {
      if (bytes.length > 0) this.push(bytes);
      this.push(null);
    },
  });
}

/** Ties a body to the signal of its get. */
export function abortable(body: Readable, signal: AbortSignal | undefined): Readable {
  if (!signal) return body;
  // An abort between the get and the first read is told to whoever reads; until then nobody listens, and an error
  // without a listener ends the process.
  body.on('error', () => undefined);
  return addAbortSignal(signal, body);
}

/**
 * Passes exactly `length` bytes on. Fewer, or an error of the source (a connection cut in the middle looks so),
 * is `BlobTruncated`; destroying the result destroys the source, which frees its socket.
 */
export function guardLength(source: Readable, length: number, key: string): Readable {
  let missing = length;
  const guard = new Transform({
    readableHighWaterMark: 256 * 1024,
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      missing -= chunk.length;
      if (missing < 0) done(truncated(key, `the store delivers more than the ${length} bytes asked for`));
      else done(null, chunk);
    },
    flush(done: TransformCallback) {
      done(missing === 0 ? null : truncated(key, `${missing} of ${length} bytes are missing`));
    },
    destroy(error, done) {
      source.destroy();
      done(error);
    },
  });
  source.on('error', (error) => guard.destroy(truncated(key, error.message, error)));
  source.on('close', () => {
    if (!source.readableEnded) guard.destroy(truncated(key, `${missing} of ${length} bytes are missing`));
  });
  return source.pipe(guard);
}
