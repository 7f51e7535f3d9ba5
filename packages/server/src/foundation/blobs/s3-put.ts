import type { S3Client } from '@aws-sdk/client-s3';
import type { LimitFunction } from 'p-limit';
import type { Readable } from 'node:stream';
import type { Log } from '../log.js';
import { Unsupported, type BlobStore, type Part } from './blob-store.js';
import { bodyBatches, mismatch } from './body-batches.js';
import { assertKey } from './keys.js';
import { mostParts } from './parts.js';
import { abortUpload, beginUpload, completeUpload, sendPart, type Target } from './s3-multipart.js';
import { putObject } from './s3-put-object.js';

const mebibyte = 1024 * 1024;
/** 10,000 parts of it are 78 GiB, so a body of unknown length fits too. All parts but the last are equal (R2). */
const smallestPart = 8 * mebibyte;
/** Parts of one body on their way at once, while a third is filled: four were 20 % faster at a third more memory. */
const partsPerBody = 2;

/** Bytes per part for a body of the given length: as small as 10,000 parts allow, in whole MiB. */
export function partBytes(size: number | undefined): number {
  const needed = size === undefined ? 0 : Math.ceil(size / mostParts / mebibyte) * mebibyte;
  return Math.max(smallestPart, needed);
}

export interface S3PutParts {
  readonly client: S3Client;
  readonly bucket: string;
  readonly log: Log;
  /** How many parts the process sends at once, whoever sends them. */
  readonly sending: LimitFunction;
  readonly mayPutIfAbsent: () => Promise<boolean>;
}

/**
 * The put of an S3 store. What fits into one part is one request, anything larger a multipart upload; either way
 * the SDK is given buffers, which it can send again, and never the body itself.
 */
export function createPut({ client, bucket, log, sending, mayPutIfAbsent }: S3PutParts): BlobStore['put'] {
  /** Old servers overwrite instead of refusing a condition that they do not know, so nothing is left to chance. */
  const checkAbility = async ({ key, options }: Target): Promise<void> => {
    if (!options.ifAbsent) return;
    if ((options.size ?? 0) > smallestPart) throw tooLarge(key);
    if (!(await mayPutIfAbsent())) throw new Unsupported('this store has no put if absent', key);
  };

  const putStream = async (target: Target, body: Readable): Promise<number> => {
    const { size, signal } = target.options;
    const capacity = partBytes(size);
    const batches = bodyBatches(body, target.key, { batchBytes: mebibyte, exact: true, size, signal });
    try {
      const first = await nextBatch(batches);
      // Most bodies are small, and take no more memory than they have bytes.
      if (first === undefined || bytesIn(first) < mebibyte)
        return await putObject(target, Buffer.concat(first ?? []));
      const part = await fillPart(
        Buffer.allocUnsafeSlow(Math.min(size ?? capacity, capacity)),
        first,
        batches,
      );
      // A second part exists only when the first is full, and often not even then.
      const second = part.length < capacity ? undefined : await nextBatch(batches);
      if (second === undefined) return await putObject(target, part);
      if (target.options.ifAbsent) throw tooLarge(target.key);
      return await putParts(target, body, part, second, batches);
    } finally {
      await batches.return();
    }
  };

  const putParts = async (
    target: Target,
    body: Readable,
    first: Buffer,
    second: readonly Buffer[],
    batches: Batches,
  ): Promise<number> => {
    const { options } = target;
    const uploadId = await beginUpload(target);
    // Cancels the other parts when one fails: an abort while parts still arrive would leave those behind.
    const cancel = new AbortController();
    const abortSignal = options.signal ? AbortSignal.any([options.signal, cancel.signal]) : cancel.signal;
    // Buffers of parts that have arrived are filled again: three of them carry a body of any length.
    const free: Buffer[] = [];
    const parts: Promise<Part>[] = [];
    const underWay = new Set<Promise<void>>();
    let total = 0;
    let failure: unknown;
    const fail = (error: unknown): void => {
      failure ??= error;
      cancel.abort();
      body.destroy();
    };
    const send = async (bytes: Buffer, memory: Buffer): Promise<void> => {
      while (underWay.size >= partsPerBody && failure === undefined) await Promise.race(underWay);
      if (parts.length === mostParts)
        throw new RangeError(`a body of unknown length may have ${mostParts} parts`);
      total += bytes.length;
      const number = parts.length + 1;
      const part = sending(() => sendPart(target, uploadId, number, bytes, abortSignal));
      parts.push(part);
      const settled: Promise<void> = part.then(() => {
        underWay.delete(settled);
        free.push(memory);
      }, fail);
      underWay.add(settled);
    };
    try {
      await send(first, first);
      for (let batch: Batch | undefined = second; batch !== undefined; batch = await nextBatch(batches)) {
        const memory = free.pop() ?? Buffer.allocUnsafeSlow(first.length);
        await send(await fillPart(memory, batch, batches), memory);
      }
      await completeUpload(target, uploadId, await Promise.all(parts));
      return total;
    } catch (error) {
      fail(error);
      await Promise.all(underWay);
      await abortUpload(target, uploadId, log);
      options.signal?.throwIfAborted();
      throw failure;
    }
  };

  return async (key, body, options = {}) => {
    const target: Target = { client, bucket, key, options };
    if (Buffer.isBuffer(body)) {
      assertKey(key);
      if (options.size !== undefined && options.size !== body.length) {
        throw mismatch(key, options.size, String(body.length));
      }
      options.signal?.throwIfAborted();
      await checkAbility(target);
      return { size: await putObject(target, body) };
    }
    // Whoever reads the body gets its error; between two reads nobody listens, and it would end the process.
    body.on('error', () => undefined);
    try {
      assertKey(key);
      options.signal?.throwIfAborted();
      await checkAbility(target);
      return { size: await putStream(target, body) };
    } finally {
      body.destroy();
    }
  };
}

function tooLarge(key: string): Unsupported {
  return new Unsupported(`a put if absent is one request of at most ${smallestPart} bytes`, key);
}

type Batch = readonly Buffer[];
type Batches = AsyncGenerator<Batch, void, undefined>;

async function nextBatch(batches: Batches): Promise<Batch | undefined> {
  const next = await batches.next();
  return next.done ? undefined : next.value;
}

function bytesIn(batch: Batch): number {
  return batch.reduce((sum, { length }) => sum + length, 0);
}

/** Copies `first` and what follows into the memory until it is full or the body ends. */
async function fillPart(memory: Buffer, first: Batch, batches: Batches): Promise<Buffer> {
  let filled = 0;
  for (let batch: Batch | undefined = first; batch !== undefined; batch = await nextBatch(batches)) {
    for (const chunk of batch) filled += chunk.copy(memory, filled);
    // Batches have a MiB and memories whole MiB, so no batch is cut here.
    if (filled >= memory.length) break;
  }
  return memory.subarray(0, filled);
}
