import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  UploadPartCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import pLimit from 'p-limit';
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Log } from '../log.js';
import type { BlobStore, PutOptions } from './blob-store.js';
import { bodyBatches, mismatch } from './body-batches.js';
import { assertKey } from './keys.js';
import { isStatus, s3Error } from './s3-errors.js';

const mebibyte = 1024 * 1024;
/** 10,000 parts of it are 78 GiB, so a body of unknown length fits too. All parts but the last are equal (R2). */
const smallestPart = 8 * mebibyte;
const mostParts = 10_000;
/** Parts of one body on their way at once: 98 MiB/s with two, 118 with four at a third more memory. */
const partsPerBody = 2;
/** Parts on their way in the whole process, whatever the number of uploads: at most 128 MiB of them. */
const partsInAll = 16;

/** Bytes per part for a body of the given length: as small as 10,000 parts allow, in whole MiB. */
export function partBytes(size: number | undefined): number {
  const needed = size === undefined ? 0 : Math.ceil(size / mostParts / mebibyte) * mebibyte;
  return Math.max(smallestPart, needed);
}

interface Target {
  readonly client: S3Client;
  readonly bucket: string;
  readonly key: string;
  readonly options: PutOptions;
}

/**
 * The put of an S3 store. What fits into one part is one request, anything larger a multipart upload; either way
 * the SDK is given buffers, which it can send again, and never the body itself.
 */
export function createPut(client: S3Client, bucket: string, log: Log): BlobStore['put'] {
  const sending = pLimit(partsInAll);

  const putWhole = async ({ key, options }: Target, bytes: Buffer): Promise<number> => {
    options.signal?.throwIfAborted();
    try {
      await client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: key,
          Body: bytes,
          ContentLength: bytes.length,
          ContentType: options.contentType,
        }),
        { abortSignal: options.signal },
      );
    } catch (error) {
      options.signal?.throwIfAborted();
      throw s3Error(error, key);
    }
    return bytes.length;
  };

  const putStream = async (target: Target, body: Readable): Promise<number> => {
    const { key, options } = target;
    const batchBytes = partBytes(options.size);
    const batches = bodyBatches(body, key, {
      batchBytes,
      exact: true,
      size: options.size,
      signal: options.signal,
    });
    try {
      const first = await batches.next();
      const head = Buffer.concat(first.done ? [] : first.value);
      // A second part exists only when the first is full, and often not even then.
      const second = head.length < batchBytes ? undefined : await batches.next();
      if (!second || second.done) return await putWhole(target, head);
      return await putParts(target, body, [head, Buffer.concat(second.value)], batches);
    } finally {
      await batches.return();
    }
  };

  const putParts = async (
    target: Target,
    body: Readable,
    first: readonly Buffer[],
    rest: AsyncGenerator<readonly Buffer[]>,
  ): Promise<number> => {
    const { options } = target;
    const uploadId = await beginUpload(target);
    // Cancels the other parts when one fails: an abort while parts still arrive would leave those behind.
    const cancel = new AbortController();
    const abortSignal = options.signal ? AbortSignal.any([options.signal, cancel.signal]) : cancel.signal;
    const etags: Promise<string>[] = [];
    const underWay = new Set<Promise<void>>();
    let total = 0;
    let failure: unknown;
    const fail = (error: unknown): void => {
      failure ??= error;
      cancel.abort();
      body.destroy();
    };
    const send = async (bytes: Buffer): Promise<void> => {
      if (etags.length === mostParts)
        throw new RangeError(`a body of unknown length may have ${mostParts} parts`);
      total += bytes.length;
      const number = etags.length + 1;
      const part = sending(() => sendPart(target, uploadId, number, bytes, abortSignal));
      etags.push(part);
      const settled: Promise<void> = part.then(() => void underWay.delete(settled), fail);
      underWay.add(settled);
      if (underWay.size >= partsPerBody) await Promise.race(underWay);
    };
    try {
      for (const bytes of first) await send(bytes);
      for await (const batch of rest) await send(Buffer.concat(batch));
      await completeUpload(target, uploadId, await Promise.all(etags), total);
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
      return { size: await putWhole(target, body) };
    }
    // Whoever reads the body gets its error; between two reads nobody listens, and it would end the process.
    body.on('error', () => undefined);
    try {
      assertKey(key);
      options.signal?.throwIfAborted();
      return { size: await putStream(target, body) };
    } finally {
      body.destroy();
    }
  };
}

async function beginUpload({ client, bucket, key, options }: Target): Promise<string> {
  try {
    const { UploadId: uploadId } = await client.send(
      new CreateMultipartUploadCommand({ Bucket: bucket, Key: key, ContentType: options.contentType }),
      { abortSignal: options.signal },
    );
    if (uploadId === undefined) throw new Error('the store began a multipart upload without an id');
    return uploadId;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw s3Error(error, key);
  }
}

async function sendPart(
  { client, bucket, key }: Target,
  uploadId: string,
  number: number,
  bytes: Buffer,
  abortSignal: AbortSignal,
): Promise<string> {
  abortSignal.throwIfAborted();
  try {
    const { ETag: etag } = await client.send(
      new UploadPartCommand({
        Bucket: bucket,
        Key: key,
        UploadId: uploadId,
        PartNumber: number,
        Body: bytes,
        ContentLength: bytes.length,
      }),
      { abortSignal },
    );
    if (etag === undefined) throw new Error('the store took a part without naming its ETag');
    return etag;
  } catch (error) {
    throw s3Error(error, key);
  }
}

async function completeUpload(
  { client, bucket, key, options }: Target,
  uploadId: string,
  etags: readonly string[],
  size: number,
): Promise<void> {
  options.signal?.throwIfAborted();
  const parts = etags.map((etag, index) => ({ PartNumber: index + 1, ETag: etag }));
  try {
    await client.send(
      new CompleteMultipartUploadCommand({
        Bucket: bucket,
        Key: key,
        UploadId: uploadId,
        MultipartUpload: { Parts: parts },
      }),
      { abortSignal: options.signal },
    );
  } catch (error) {
    options.signal?.throwIfAborted();
    // The answer of a first try was lost and the SDK's second found the upload gone: it may have succeeded.
    if (isStatus(error, 404)) {
      const found = await client
        .send(new HeadObjectCommand({ Bucket: bucket, Key: key }))
        .catch(() => undefined);
      if (found?.ContentLength === size && found.ETag === combinedEtag(etags)) return;
    }
    throw s3Error(error, key);
  }
}

/** The ETag that S3 gives a multipart object: MD5 of the parts' MD5s, and their number. */
function combinedEtag(etags: readonly string[]): string {
  const hash = createHash('md5');
  for (const etag of etags) hash.update(Buffer.from(etag.replaceAll('"', ''), 'hex'));
  return `"${hash.digest('hex')}-${etags.length}"`;
}

async function abortUpload({ client, bucket, key }: Target, uploadId: string, log: Log): Promise<void> {
  try {
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }));
  } catch (error) {
    // The put fails with its own reason; the parts go with `removeStaleTemporaries`.
    if (!isStatus(error, 404)) log.warn({ err: error }, 'a multipart upload could not be aborted');
  }
}

/** Aborts multipart uploads begun more than `olderThanMs` ago; returns how many. */
export async function abortStaleUploads(
  client: S3Client,
  bucket: string,
  olderThanMs: number,
): Promise<number> {
  let aborted = 0;
  let at: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined = {};
  try {
    while (at) {
      const page: { Uploads?: { Key?: string; UploadId?: string; Initiated?: Date }[] } & {
        IsTruncated?: boolean;
        NextKeyMarker?: string;
        NextUploadIdMarker?: string;
      } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, ...at }));
      for (const { Key: key, UploadId: uploadId, Initiated: begun } of page.Uploads ?? []) {
        if (!key || !uploadId || !begun || Date.now() - begun.getTime() <= olderThanMs) continue;
        try {
          await client.send(
            new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }),
          );
          aborted += 1;
        } catch (error) {
          // Completed or aborted meanwhile.
          if (!isStatus(error, 404)) throw error;
        }
      }
      at = page.IsTruncated
        ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
        : undefined;
    }
  } catch (error) {
    throw s3Error(error, '');
  }
  return aborted;
}
