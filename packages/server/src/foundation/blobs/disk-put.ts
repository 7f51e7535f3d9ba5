import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { BlobStore } from './blob-store.js';
import { bodyBatches, mismatch } from './body-batches.js';
import { storeError } from './disk-errors.js';
import { writeFully } from './disk-file.js';
import type { Publishing } from './disk-publish.js';
import { assertKey } from './keys.js';

/** Gathered before each write: 1.9 CPU-s per GiB, where a write per 64 KiB chunk costs 2.8–3.5. */
const writeBatchBytes = 1024 * 1024;

/** The put of a disk store: a temporary file, filled and made durable, then moved under its key. */
export function createDiskPut(publishing: Publishing): BlobStore['put'] {
  return async (key, body, options = {}) => {
    const { size, signal, ifAbsent } = options;
    if (Buffer.isBuffer(body)) {
      assertKey(key);
      signal?.throwIfAborted();
      if (size !== undefined && size !== body.length) throw mismatch(key, size, String(body.length));
      return { size: await publishing.fill(key, (handle) => writeBuffer(handle, body, key), { ifAbsent }) };
    }
    // Whoever reads the body gets its error; between two reads nobody listens, and it would end the process.
    body.on('error', () => undefined);
    try {
      assertKey(key);
      signal?.throwIfAborted();
      const write = (handle: FileHandle): Promise<number> => writeStream(handle, body, key, { size, signal });
      return { size: await publishing.fill(key, write, { ifAbsent }) };
    } finally {
      body.destroy();
    }
  };
}

/** Writes the bytes and makes them durable. */
export async function writeBuffer(handle: FileHandle, bytes: Buffer, key: string): Promise<number> {
  try {
    await writeFully(handle, [bytes]);
    await handle.sync();
    return bytes.length;
  } catch (error) {
    throw storeError(error, key);
  }
}

export interface WriteOptions {
  readonly size?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Sees the bytes on their way; what it throws ends the put. */
  readonly look?: (batch: readonly Buffer[]) => void;
}

/**
 * Writes a body to its end and makes it durable. One batch is written while the next is gathered, so at most two are
 * in memory.
 */
export async function writeStream(
  handle: FileHandle,
  body: Readable,
  key: string,
  { size, signal, look }: WriteOptions,
): Promise<number> {
  let total = 0;
  let writing: Promise<void> = Promise.resolve();
  const write = async (batch: readonly Buffer[]): Promise<void> => {
    try {
      total += await writeFully(handle, batch);
    } catch (error) {
      // A full disk is reported now, not when a slow client has filled the next batch.
      body.destroy();
      throw storeError(error, key);
    }
  };
  try {
    for await (const batch of bodyBatches(body, key, {
      batchBytes: writeBatchBytes,
      exact: false,
      size,
      signal,
    })) {
      await writing;
      writing = write(batch);
      // Handled by the next `await writing`; until then it must not count as an unhandled rejection.
      writing.catch(() => undefined);
      look?.(batch);
    }
  } catch (error) {
    // When the body was cut because a write failed, the write's error is the one to tell.
    await writing;
    throw error;
  }
  await writing;
  signal?.throwIfAborted();
  try {
    await handle.sync();
  } catch (error) {
    throw storeError(error, key);
  }
  signal?.throwIfAborted();
  return total;
}
