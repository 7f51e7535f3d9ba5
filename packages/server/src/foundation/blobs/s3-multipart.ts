import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  UploadPartCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { createHash } from 'node:crypto';
import type { Log } from '../log.js';
import type { PutOptions } from './blob-store.js';
import { isStatus, s3Error } from './s3-errors.js';

/** Where one put goes. */
export interface Target {
  readonly client: S3Client;
  readonly bucket: string;
  readonly key: string;
  readonly options: PutOptions;
}

/**
 * Begins a multipart upload and gives its id. The put's signal is not obeyed here: a request that is cut after it
 * arrived would leave an upload whose id nobody knows.
 */
export async function beginUpload({ client, bucket, key, options }: Target): Promise<string> {
  try {
    const { UploadId: uploadId } = await client.send(
      new CreateMultipartUploadCommand({ Bucket: bucket, Key: key, ContentType: options.contentType }),
    );
    if (uploadId === undefined) throw new Error('the store began a multipart upload without an id');
    return uploadId;
  } catch (error) {
    throw s3Error(error, key);
  }
}

/** Sends one part, counted from 1, and gives its ETag. The buffer may be used again once this resolves. */
export async function sendPart(
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

/** Makes the parts one blob of `size` bytes. */
export async function completeUpload(
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

/** Drops an upload with its parts. Never rejects: its caller is failing with a reason of its own. */
export async function abortUpload(
  { client, bucket, key }: Target,
  uploadId: string,
  log: Log,
): Promise<void> {
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
