import { rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import type { Log } from '../log.js';
import { InvalidKey, type BlobStore, type PutOptions } from './blob-store.js';
import { bodyBatches, mismatch } from './body-batches.js';
import { errnoOf, isAbsent, storeError } from './disk-errors.js';
import { syncFolder, type Folders } from './disk-folders.js';
import { writeFully } from './disk-file.js';
import type { Temporaries, Temporary } from './disk-temporaries.js';
import { assertKey } from './keys.js';

/** Gathered before each write: 1.9 CPU-s per GiB, where a write per 64 KiB chunk costs 2.8–3.5. */
const writeBatchBytes = 1024 * 1024;
/** How often a put makes its folder anew when deletes of its last neighbours keep removing it. */
const folderAttempts = 100;

export interface DiskPutParts {
  readonly folders: Folders;
  readonly temporaries: Temporaries;
  readonly log: Log | undefined;
}

/** The put of a disk store: a temporary file, filled and made durable, then moved under its key. */
export function createDiskPut({ folders, temporaries, log }: DiskPutParts): BlobStore['put'] {
  /** Moves a finished temporary under its key and makes the new name durable. */
  const publish = async (temporary: Temporary, key: string): Promise<void> => {
    const path = folders.pathOf(key);
    const parent = dirname(path);
    for (let attempt = 1; ; attempt++) {
      if (!(await folders.exists(parent, key))) await folders.make(parent, key);
      try {
        await rename(temporary.path, path);
        break;
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === 'EISDIR' || errno === 'ENOTEMPTY' || errno === 'EEXIST') {
          throw new InvalidKey('a folder of other blobs stands where the key needs a file', key, {
            cause: error,
          });
        }
        if (errno === 'ENOTDIR') {
          throw new InvalidKey('a blob stands where the key needs a folder', key, { cause: error });
        }
        // A delete of the folder's last blob removed the folder between the two calls.
        if (errno !== 'ENOENT' || attempt === folderAttempts) throw error;
      }
    }
    await syncFolder(parent);
  };

  /** Writes what `fill` writes into a temporary file and publishes it; leaves nothing behind otherwise. */
  const store = async (key: string, fill: (handle: FileHandle) => Promise<number>): Promise<number> => {
    const temporary = await temporaries.create().catch((error: unknown) => {
      throw storeError(error, key);
    });
    let published = false;
    try {
      const size = await fill(temporary.handle);
      try {
        // Network file systems may report a full disk only now.
        await temporary.handle.close();
        await publish(temporary, key);
      } catch (error) {
        throw storeError(error, key);
      }
      published = true;
      return size;
    } finally {
      if (!published) await discard(temporary, log);
    }
  };

  return async (key, body, options = {}) => {
    if (Buffer.isBuffer(body)) {
      assertKey(key);
      options.signal?.throwIfAborted();
      if (options.size !== undefined && options.size !== body.length) {
        throw mismatch(key, options.size, String(body.length));
      }
      return { size: await store(key, (handle) => writeBuffer(handle, body, key)) };
    }
    // Whoever reads the body gets its error; between two reads nobody listens, and it would end the process.
    body.on('error', () => undefined);
    try {
      assertKey(key);
      options.signal?.throwIfAborted();
      return { size: await store(key, (handle) => writeStream(handle, body, key, options)) };
    } finally {
      body.destroy();
    }
  };
}

async function writeBuffer(handle: FileHandle, bytes: Buffer, key: string): Promise<number> {
  try {
    await writeFully(handle, [bytes]);
    await handle.sync();
    return bytes.length;
  } catch (error) {
    throw storeError(error, key);
  }
}

/** One batch is written while the next is gathered, so at most two are in memory. */
async function writeStream(
  handle: FileHandle,
  body: Readable,
  key: string,
  options: PutOptions,
): Promise<number> {
  const { size, signal } = options;
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

async function discard(temporary: Temporary, log: Log | undefined): Promise<void> {
  try {
    await temporary.handle.close();
    await unlink(temporary.path);
  } catch (error) {
    // The put already fails with a better reason; the file goes when this process has ended.
    if (!isAbsent(error)) log?.warn({ err: error }, 'a temporary file could not be removed');
  }
}
