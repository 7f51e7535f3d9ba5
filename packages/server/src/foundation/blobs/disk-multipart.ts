import type { FileHandle } from 'node:fs/promises';
import type { Log } from '../log.js';
import { MultipartMissing, PartsRefused, type MultipartBlobs, type Part } from './blob-store.js';
import { mismatch } from './body-batches.js';
import { isAbsent, storeError } from './disk-errors.js';
import type { Folders } from './disk-folders.js';
import { isMadeOf, joinParts } from './disk-join.js';
import {
  etagOf,
  missing,
  partHash,
  publishPart,
  storedParts,
  type PartsFolder,
  type StoredPart,
} from './disk-parts.js';
import { discard, type Publishing } from './disk-publish.js';
import { writeBuffer, writeStream } from './disk-put.js';
import type { Temporaries } from './disk-temporaries.js';
import { assertKey } from './keys.js';
import { assertPartNumber, assertPartSize, mostParts, totalOf } from './parts.js';

export interface DiskMultipartParts {
  readonly folders: Folders;
  readonly temporaries: Temporaries;
  readonly publishing: Publishing;
  readonly uploads: PartsFolder;
  readonly log: Log | undefined;
}

/** As on S3, so that a plan of parts fits both. */
const largestPart = 5 * 2 ** 30;

/** Writes a part's bytes to the file, showing them to `look` on their way, and gives their number. */
type Write = (handle: FileHandle, look: (batch: readonly Buffer[]) => void) => Promise<number>;

/**
 * Puts in parts on disk. A part is written as a temporary and renamed into its upload's folder; the completion writes
 * all of them into one temporary and renames that under the key. Nothing is ever written into a file that has a name
 * others may read, so a process that was paused in the middle of a part harms nobody.
 */
export function createDiskMultipart(parts: DiskMultipartParts): MultipartBlobs {
  const { folders, temporaries, publishing, uploads, log } = parts;

  const store = async (key: string, uploadId: string, number: number, write: Write): Promise<Part> => {
    // Looked up first: nobody should send a gigabyte to learn that its upload is gone.
    const folder = await onDisk(key, uploads.find(key, uploadId));
    const temporary = await onDisk(key, temporaries.create());
    let published = false;
    try {
      const hash = partHash();
      let seen = 0;
      const size = await write(temporary.handle, (batch) => {
        for (const chunk of batch) {
          seen += chunk.length;
          hash.update(chunk);
        }
        assertPartSize(seen, largestPart, key);
      });
      const part = { number, size, etag: etagOf(hash) };
      await onDisk(key, temporary.handle.close());
      await onDisk(key, publishPart(folder, temporary.path, part));
      published = true;
      return part;
    } finally {
      if (!published) await discard(temporary, log);
    }
  };

  const put: MultipartBlobs['put'] = async (key, uploadId, number, body, { size, signal } = {}) => {
    const check = (): void => {
      assertKey(key);
      assertPartNumber(number);
      if (size !== undefined) assertPartSize(size, largestPart, key);
      signal?.throwIfAborted();
    };
    if (Buffer.isBuffer(body)) {
      check();
      if (size !== undefined && size !== body.length) throw mismatch(key, size, String(body.length));
      return store(key, uploadId, number, (handle, look) => {
        look([body]);
        return writeBuffer(handle, body, key);
      });
    }
    // Whoever reads the body gets its error; before that nobody listens, and it would end the process.
    body.on('error', () => undefined);
    try {
      check();
      return await store(key, uploadId, number, (handle, look) =>
        writeStream(handle, body, key, { size, signal, look }),
      );
    } finally {
      body.destroy();
    }
  };

  const complete: MultipartBlobs['complete'] = async (key, uploadId, wanted) => {
    assertKey(key);
    const size = totalOf(wanted, 1, key);
    try {
      await onDisk(key, publish(key, uploadId, wanted));
    } catch (error) {
      // The answer of an earlier completion was lost, or another one was faster: what lies under the key tells.
      const gone = error instanceof MultipartMissing || error instanceof PartsRefused;
      if (!gone || !(await isMadeOf(folders.pathOf(key), wanted, key))) throw error;
    }
    try {
      await drop(key, uploadId);
    } catch (error) {
      // The blob is there, and the parts go with `removeStaleTemporaries`.
      log?.warn({ err: error }, 'the parts of a completed upload could not be removed');
    }
    return { size };
  };

  const publish = async (key: string, uploadId: string, wanted: readonly Part[]): Promise<void> => {
    const folder = await uploads.find(key, uploadId);
    const there = new Map((await storedParts(folder)).map((part) => [part.number, part]));
    const chosen = wanted.map((part): StoredPart => {
      const found = there.get(part.number);
      if (found?.etag === part.etag && found.size === part.size) return found;
      throw new PartsRefused(`part ${part.number} is not there as it was named`, key);
    });
    if (there.size > chosen.length) throw new PartsRefused('parts are there that were not named', key);
    const [only] = chosen;
    // A single part is the blob already: its writer closed it before it got its name.
    if (only && chosen.length === 1) await publishing.move(only.path, key);
    else await publishing.fill(key, (handle) => joinParts(handle, chosen, key));
  };

  const drop = async (key: string, uploadId: string): Promise<void> => {
    try {
      await uploads.find(key, uploadId);
    } catch (error) {
      if (error instanceof MultipartMissing) return;
      throw error;
    }
    await uploads.drop(uploadId);
  };

  return {
    smallestPart: 1,
    largestPart,
    mostParts,
    begin: async (key) => {
      assertKey(key);
      return onDisk(key, uploads.make(key));
    },
    put,
    parts: async (key, uploadId) => {
      assertKey(key);
      const found = await onDisk(
        key,
        uploads.find(key, uploadId).then((folder) => storedParts(folder)),
      );
      return found.map(({ number, size, etag }) => ({ number, size, etag }));
    },
    complete,
    abort: async (key, uploadId) => {
      assertKey(key);
      await onDisk(key, drop(key, uploadId));
    },
    list: (prefix) => uploads.list(prefix),
  };
}

/** What failed on the way means: a folder or a part that is gone belonged to an upload that is over. */
async function onDisk<T>(key: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw isAbsent(error) ? missing(key, error) : storeError(error, key);
  }
}
