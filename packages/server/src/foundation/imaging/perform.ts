import { open, readFile, stat } from 'node:fs/promises';

import { readHead, readHeader } from './header.js';
import { ImagingError, type PictureFacts, type PictureSource, type RenderRequest } from './imaging.js';
import type { Task, TaskResult } from './messages.js';
import { render } from './render.js';

/** Bytes of a file that hold nearly every header; the whole file is read when they do not. */
const headBytes = 256 * 1024;

/** Does one task in a child process. libvips is always given buffers: loaders given a path may read its neighbours. */
export async function perform(
  task: Task,
  onQuick: NonNullable<RenderRequest['onQuick']>,
): Promise<TaskResult> {
  if (task.kind === 'probe') return probe(task.source, task.maxPixels);
  const { size } = await stat(task.path);
  if (size > task.maxBytes) {
    throw new ImagingError(
      'decoder-memory',
      `The file has ${size} bytes; pictures of at most ${task.maxBytes} are decoded.`,
      { limit: task.maxBytes, actual: size },
    );
  }
  return render(await readFile(task.path), { ...task, onQuick }, task.maxPixels);
}

async function probe(source: PictureSource, maxPixels: number): Promise<PictureFacts> {
  if ('bytes' in source) {
    // Over the channel a Buffer may arrive as a plain Uint8Array.
    const bytes = Buffer.from(source.bytes.buffer, source.bytes.byteOffset, source.bytes.byteLength);
    return source.complete ? (await readHeader(bytes, maxPixels)).facts : readHead(bytes, maxPixels);
  }
  const { bytes, complete } = await readStart(source.path);
  if (complete) return (await readHeader(bytes, maxPixels)).facts;
  try {
    const facts = await readHead(bytes, maxPixels);
    // Frames and a WebP's orientation stand behind the head.
    if (facts.format !== 'gif' && facts.format !== 'webp') return facts;
  } catch (error) {
    if (!(error instanceof ImagingError && error.code === 'header-incomplete')) throw error;
  }
  return (await readHeader(await readFile(source.path), maxPixels)).facts;
}

async function readStart(path: string): Promise<{ bytes: Buffer; complete: boolean }> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, headBytes));
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return { bytes: bytes.subarray(0, filled), complete: size <= headBytes };
  } finally {
    await file.close();
  }
}
