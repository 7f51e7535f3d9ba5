import { createHash } from 'node:crypto';
import { pipeline, Transform, type Readable, type TransformCallback } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobError, BlobMissing, StoreFull, type BlobStore } from './blob-store.js';

/** What a blob must be. */
export interface ExpectedBlob {
  readonly key: string;
  readonly size: number;
  readonly sha256: Buffer;
  /** Media type that is kept with the copy. */
  readonly contentType?: string;
}

/** The source's bytes are not those that they should be. Nothing of them was put into the target. */
export class SourceAltered extends BlobError {}
/** What was put into the target reads back as something else. It was removed from there. */
export class CopyDiffers extends BlobError {}

export interface CopyContext {
  readonly from: BlobStore;
  readonly to: BlobStore;
  readonly signal: AbortSignal;
  readonly waits: readonly number[];
  /** Told of bytes as they are read from the source. */
  readonly onBytes: (bytes: number) => void;
}

/** Size and hash of a blob as the store delivers it now. */
export interface Digest {
  readonly size: number;
  readonly sha256: Buffer;
  readonly lastModified: Date;
}

/** Reads a blob to its end; undefined when there is none. */
export async function digestBlob(
  store: BlobStore,
  key: string,
  signal: AbortSignal,
): Promise<Digest | undefined> {
  const blob = await store.get(key, { signal }).catch(absent);
  if (blob === undefined) return undefined;
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of blob.body as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { size, sha256: hash.digest(), lastModified: blob.lastModified };
}

/**
 * Copies one blob and reads the copy back.
 * @returns what the target holds now; undefined when the source has no such blob (any more).
 * @throws SourceAltered, CopyDiffers, and what the stores throw.
 */
export async function copyBlob(
  context: CopyContext,
  key: string,
  expected: ExpectedBlob | undefined,
): Promise<Digest | undefined> {
  const source = await transfer(context, key, expected);
  if (source === undefined) return undefined;
  const copy = await digestBlob(context.to, key, context.signal);
  if (copy?.size === source.size && copy.sha256.equals(source.sha256)) return copy;
  await context.to.delete(key);
  const found = copy === undefined ? 'nothing' : `${copy.size} bytes, SHA-256 ${copy.sha256.toString('hex')}`;
  throw new CopyDiffers(`the target returns ${found} for ${source.size} bytes that were put`, key);
}

/** One pass of the bytes from store to store; a blob that is not what it should be is never made in the target. */
async function transfer(
  { from, to, signal, onBytes }: CopyContext,
  key: string,
  expected: ExpectedBlob | undefined,
): Promise<Pick<Digest, 'size' | 'sha256'> | undefined> {
  const blob = await from.get(key, { signal }).catch(absent);
  if (blob === undefined) return undefined;
  if (expected && expected.size !== blob.size) {
    blob.body.destroy();
    throw altered(key, `it has ${blob.size} bytes instead of ${expected.size}`);
  }
  const hash = createHash('sha256');
  let sha256: Buffer | undefined;
  const meter = new Transform({
    readableHighWaterMark: 256 * 1024,
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      hash.update(chunk);
      onBytes(chunk.length);
      done(null, chunk);
    },
    // A body that fails before its end leaves nothing in the target.
    flush(done: TransformCallback) {
      sha256 = hash.digest();
      done(expected && !sha256.equals(expected.sha256) ? altered(key, 'its SHA-256 is another') : null);
    },
  });
  // The put hears of every error from the meter; the pipeline only ties the two ends together.
  const body: Readable = pipeline(blob.body, meter, () => undefined);
  await to.put(key, body, {
    size: blob.size,
    signal,
    ...(expected?.contentType !== undefined && { contentType: expected.contentType }),
  });
  if (sha256 === undefined) throw new TypeError('a put ended before its body');
  return { size: blob.size, sha256 };
}

/** Waits before the second attempt and so on, in milliseconds; an S3 store retries by itself within each. */
export const standardWaits: readonly number[] = [500, 2_000, 8_000];
/** What no second attempt changes. */
const final = [SourceAltered, StoreFull];

/** Repeats the work while it fails for the moment; an abort ends it at once with the signal's reason. */
export async function withRetries<T>(
  { signal, waits }: Pick<CopyContext, 'signal' | 'waits'>,
  work: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      signal.throwIfAborted();
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      const wait = waits[attempt];
      if (
        wait === undefined ||
        !(error instanceof BlobError) ||
        final.some((kind) => error instanceof kind)
      ) {
        throw error;
      }
      await sleep(wait * (0.5 + Math.random()), undefined, { signal });
    }
  }
}

function altered(key: string, why: string): SourceAltered {
  return new SourceAltered(`the source's blob is not the one that was stored: ${why}`, key);
}

function absent(error: unknown): undefined {
  if (error instanceof BlobMissing) return undefined;
  throw error;
}
