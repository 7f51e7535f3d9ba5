import type { FileHandle } from 'node:fs/promises';
import { StoreUnavailable, type Part } from './blob-store.js';
import { errnoOf, isAbsent, storeError } from './disk-errors.js';
import { writeFully } from './disk-file.js';
import { etagOf, openPart, partHash, type StoredPart } from './disk-parts.js';

/** Copied at a time when parts become one file. */
const batchBytes = 1024 * 1024;

/** Writes the parts one after another into the file and makes it durable; returns its length in bytes. */
export async function joinParts(
  handle: FileHandle,
  parts: readonly StoredPart[],
  key: string,
): Promise<number> {
  const memory = Buffer.allocUnsafeSlow(batchBytes);
  let total = 0;
  for (const { path, size, number } of parts) {
    const part = await openPart(path);
    try {
      let copied = 0;
      for (;;) {
        const { bytesRead } = await part.read(memory, 0, memory.length, copied);
        if (bytesRead === 0) break;
        copied += await writeFully(handle, [memory.subarray(0, bytesRead)]);
      }
      // Cut by somebody else, or by a disk that lost what it had acknowledged.
      if (copied !== size)
        throw new StoreUnavailable(`part ${number} has ${copied} of its ${size} bytes`, key);
    } finally {
      await part.close();
    }
    total += size;
  }
  await handle.sync();
  return total;
}

/** Whether the file is made of exactly these parts, by reading it; false when it is not there. */
export async function isMadeOf(path: string, parts: readonly Part[], key: string): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await openPart(path);
  } catch (error) {
    if (isAbsent(error) || errnoOf(error) === 'ELOOP') return false;
    throw storeError(error, key);
  }
  try {
    const info = await handle.stat();
    if (!info.isFile() || info.size !== parts.reduce((sum, { size }) => sum + size, 0)) return false;
    let position = 0;
    for (const { size, etag } of parts) {
      if ((await etagAt(handle, position, size)) !== etag) return false;
      position += size;
    }
    return true;
  } catch (error) {
    throw storeError(error, key);
  } finally {
    await handle.close();
  }
}

async function etagAt(handle: FileHandle, start: number, size: number): Promise<string> {
  const memory = Buffer.allocUnsafeSlow(Math.min(size, batchBytes));
  const hash = partHash();
  for (let done = 0; done < size;) {
    const { bytesRead } = await handle.read(memory, 0, Math.min(memory.length, size - done), start + done);
    if (bytesRead === 0) break;
    hash.update(memory.subarray(0, bytesRead));
    done += bytesRead;
  }
  return etagOf(hash);
}
