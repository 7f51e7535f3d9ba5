import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { truncated, type Window } from './body-window.js';
import { storeError } from './disk-errors.js';

/** Read at a time: 5 MB in 20 calls; larger chunks save no CPU any more and cost memory per open answer. */
const readBytes = 256 * 1024;

/** Writes all buffers and returns their length in bytes. A short write (a disk filling up) is continued. */
export async function writeFully(handle: FileHandle, buffers: readonly Buffer[]): Promise<number> {
  const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  let rest = buffers;
  let left = total;
  while (left > 0) {
    const { bytesWritten } = await handle.writev(rest);
    left -= bytesWritten;
    if (left > 0) rest = dropBytes(rest, bytesWritten);
  }
  return total;
}

function dropBytes(buffers: readonly Buffer[], count: number): readonly Buffer[] {
  let skip = count;
  const index = buffers.findIndex((buffer) => {
    if (skip < buffer.length) return true;
    skip -= buffer.length;
    return false;
  });
  const [first, ...others] = buffers.slice(index);
  return first ? [first.subarray(skip), ...others] : [];
}

/** Reads a window at once; `BlobTruncated` when the file ends inside it. */
export async function readFully(handle: FileHandle, { start, length }: Window, key: string): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, start + filled);
    if (bytesRead === 0) throw truncated(key, `the file ends after ${start + filled} bytes`);
    filled += bytesRead;
  }
  return bytes;
}

/**
 * A window of an open file as a stream, which owns the descriptor from now on. The descriptor keeps the file's
 * bytes even when the key is replaced or deleted meanwhile: a reader sees one whole version.
 */
export function fileBody(handle: FileHandle, window: Window, key: string): Readable {
  let position = window.start;
  const end = window.start + window.length;
  const readNext = async (): Promise<Buffer | null> => {
    if (position >= end) return null;
    const bytes = Buffer.allocUnsafeSlow(Math.min(readBytes, end - position));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, position);
    if (bytesRead === 0) throw truncated(key, `the file ends after ${position} bytes`);
    position += bytesRead;
    return bytesRead === bytes.length ? bytes : bytes.subarray(0, bytesRead);
  };
  return new Readable({
    highWaterMark: readBytes,
    read() {
      readNext().then(
        (bytes) => this.push(bytes),
        (error: unknown) => this.destroy(storeError(error, key)),
      );
    },
    destroy(error, done) {
      handle.close().then(
        () => done(error),
        (failure: unknown) => done(error ?? storeError(failure, key)),
      );
    },
  });
}
