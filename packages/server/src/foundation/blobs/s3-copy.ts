import { CopyObjectCommand, UploadPartCopyCommand } from '@aws-sdk/client-s3';
import pLimit from 'p-limit';
import type { Log } from '../log.js';
import { StoreUnavailable, type BlobStore, type CopyOptions, type Part } from './blob-store.js';
import { mismatch } from './body-batches.js';
import { assertKey } from './keys.js';
import { mostParts } from './parts.js';
import type { S3Clients } from './s3-clients.js';
import { isStatus, s3Error } from './s3-errors.js';
import type { Heads } from './s3-head.js';
import { abortUpload, beginUpload, completeUpload, type Target } from './s3-multipart.js';

export interface CopyLimits {
  /** Bytes that one request copies. */
  readonly whole: number;
  /** Bytes of each part beyond; all but the last are equal (R2 wants it so). */
  readonly part: number;
}

const mebibyte = 1024 * 1024;
/** S3 copies 5 GiB in one request. Parts of half a GiB are done in seconds, and 10,000 of them are 4.8 TiB. */
const standardLimits: CopyLimits = { whole: 5 * 1024 * mebibyte, part: 512 * mebibyte };
/** Parts of one copy on their way at once. */
const partsAtOnce = 4;

export interface S3CopyParts {
  readonly clients: S3Clients;
  readonly bucket: string;
  readonly heads: Heads;
  readonly log: Log;
  readonly limits?: CopyLimits | undefined;
}

interface Source {
  readonly from: string;
  readonly copySource: string;
  readonly etag: string | undefined;
  readonly size: number;
  readonly contentType: string | undefined;
}

/** The copy of an S3 store: one request, or a multipart upload whose parts are ranges of the source. */
export function createS3Copy(parts: S3CopyParts): BlobStore['copy'] {
  const { clients, bucket, heads, log, limits = standardLimits } = parts;
  const client = clients.patient;

  const copyWhole = async (source: Source, to: string, options: CopyOptions): Promise<void> => {
    const { contentType, signal } = options;
    await client.send(
      new CopyObjectCommand({
        Bucket: bucket,
        Key: to,
        CopySource: source.copySource,
        MetadataDirective: contentType === undefined ? 'COPY' : 'REPLACE',
        ContentType: contentType,
      }),
      { abortSignal: signal },
    );
  };

  const copyParts = async (source: Source, to: string, options: CopyOptions): Promise<void> => {
    const { from } = source;
    const { signal } = options;
    const contentType = options.contentType ?? source.contentType;
    const target: Target = {
      client,
      bucket,
      key: to,
      options: { ...(contentType !== undefined && { contentType }), ...(signal && { signal }) },
    };
    const uploadId = await beginUpload(target);
    const cancel = new AbortController();
    const abortSignal = signal ? AbortSignal.any([signal, cancel.signal]) : cancel.signal;
    const atOnce = pLimit(partsAtOnce);
    const ranges = rangesOf(source.size, limits.part);
    const copies = ranges.map(({ start, length }, index) =>
      atOnce(async (): Promise<Part> => {
        abortSignal.throwIfAborted();
        const number = index + 1;
        const { CopyPartResult: result } = await client.send(
          new UploadPartCopyCommand({
            Bucket: bucket,
            Key: to,
            UploadId: uploadId,
            PartNumber: number,
            CopySource: source.copySource,
            CopySourceRange: `bytes=${start}-${start + length - 1}`,
          }),
          { abortSignal },
        );
        const etag = result?.ETag;
        if (etag === undefined) throw new StoreUnavailable('the store copied a part without naming it', to);
        return { number, size: length, etag };
      }),
    );
    try {
      const done = await Promise.all(copies);
      // Parts of two versions would make a third. A condition on each part would say so too, but Swift refuses it
      // for sources that were put in parts themselves.
      const { ETag: etag, ContentLength: size } = await heads.of(from);
      if (etag !== source.etag || size !== source.size) {
        throw new StoreUnavailable('the blob was replaced while it was copied', from);
      }
      await completeUpload(target, uploadId, done);
    } catch (error) {
      cancel.abort();
      // An abort while parts still arrive would leave those behind.
      await Promise.allSettled(copies);
      await abortUpload(target, uploadId, log);
      throw error;
    }
  };

  return async (from, to, options = {}) => {
    assertKey(from);
    assertKey(to);
    options.signal?.throwIfAborted();
    const head = await heads.of(from);
    const size = head.ContentLength;
    if (options.size !== undefined && options.size !== size) {
      throw mismatch(from, options.size, String(size));
    }
    // S3 refuses a copy of a blob onto itself that changes nothing.
    if (from === to && options.contentType === undefined) return { size };
    const source: Source = {
      from,
      copySource: `${bucket}/${from.split('/').map(encodeURIComponent).join('/')}`,
      etag: head.ETag,
      size,
      contentType: head.ContentType,
    };
    try {
      await (size > limits.whole ? copyParts : copyWhole)(source, to, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (isStatus(error, 404)) throw await heads.missingOrWorse(from, error);
      throw s3Error(error, from);
    }
    const copied = (await heads.of(to)).ContentLength;
    if (copied !== size) throw new StoreUnavailable(`the copy has ${copied} of ${size} bytes`, to);
    return { size };
  };
}

function rangesOf(size: number, partBytes: number): { readonly start: number; readonly length: number }[] {
  const length = Math.max(partBytes, Math.ceil(size / mostParts / mebibyte) * mebibyte);
  return Array.from({ length: Math.ceil(size / length) }, (_, index) => ({
    start: index * length,
    length: Math.min(length, size - index * length),
  }));
}
