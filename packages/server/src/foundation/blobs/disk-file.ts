import { close, open, read, readlinkSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
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

/**
 * Opens a file for reading. Not as a `FileHandle`: its promises cost three times what a read of 50 KB does. Nobody
 * closes the descriptor but its owner.
 */
export const openToRead = promisify(open) as (path: string, flags: number) => Promise<number>;

/**
 * Whether an open file is what stands at this path, with no symbolic link on the way: the kernel knows the real path of
 * a descriptor. False where it does not say (no `/proc`), or when the file has been removed since.
 */
export function standsAt(descriptor: number, path: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === path;
  } catch {
    return false;
  }
}

/** Reads a window whole; `BlobTruncated` when the file ends inside it. */
export async function readFully(
  descriptor: number,
  window: Window,
  key: string,
  lend?: (length: number) => Buffer,
): Promise<Buffer> {
  const filling = fill(window, key, lend);
  while (!filling.done()) filling.got(await readAt(descriptor, filling.rest(), filling.position()));
  return filling.bytes;
}

/** The same, in the thread of the caller. */
export function readFullySync(
  descriptor: number,
  window: Window,
  key: string,
  lend?: (length: number) => Buffer,
): Buffer {
  const filling = fill(window, key, lend);
  while (!filling.done()) {
    const rest = filling.rest();
    filling.got(readSync(descriptor, rest, 0, rest.length, filling.position()));
  }
  return filling.bytes;
}

const newMemory = (length: number): Buffer => Buffer.allocUnsafeSlow(length);

function fill({ start, length }: Window, key: string, lend: (length: number) => Buffer = newMemory) {
  const bytes = lend(length);
  let filled = 0;
  return {
    bytes,
    done: () => filled === length,
    rest: () => (filled === 0 ? bytes : bytes.subarray(filled)),
    position: () => start + filled,
    got: (count: number) => {
      if (count === 0) throw truncated(key, `the file ends after ${start + filled} bytes`);
      filled += count;
    },
  };
}

/**
 * A window of an open file as a stream, which owns the descriptor from now on. The descriptor keeps the file's
 * bytes even when the key is replaced or deleted meanwhile: a reader sees one whole version.
 */
export function fileBody(descriptor: number, window: Window, key: string): Readable {
  let position = window.start;
  const end = window.start + window.length;
  // A descriptor is not closed while it is read from: its number could be another file's by then.
  let reading: Promise<unknown> = Promise.resolve();
  const readNext = async (): Promise<Buffer | null> => {
    if (position >= end) return null;
    const bytes = Buffer.allocUnsafeSlow(Math.min(readBytes, end - position));
    const count = await readAt(descriptor, bytes, position);
    if (count === 0) throw truncated(key, `the file ends after ${position} bytes`);
    position += count;
    return count === bytes.length ? bytes : bytes.subarray(0, count);
  };
  return new Readable({
    highWaterMark: readBytes,
    read() {
      reading = readNext().then(
        (bytes) => this.push(bytes),
        (error: unknown) => this.destroy(storeError(error, key)),
      );
    },
    destroy(error, done) {
      const finish = (): void =>
        close(descriptor, (failure) => done(error ?? (failure ? storeError(failure, key) : null)));
      void reading.then(finish);
    },
  });
}

function readAt(descriptor: number, into: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(descriptor, into, 0, into.length, position, (error, count) => {
      if (error) reject(error);
      else resolve(count);
    });
  });
}
