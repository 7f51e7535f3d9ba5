import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  UploadPartCommand,
  type HeadObjectCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { createHash } from 'node:crypto';
import type { Log } from '../log.js';
import type { Part, PutOptions } from './blob-store.js';
import { isRefusal, isStatus, s3Error } from './s3-errors.js';

/** Where one put goes. */
export interface Target {
  readonly client: S3Client;
  readonly bucket: string;
  readonly key: string;
  readonly options: Pick<PutOptions, 'size' | 'contentType' | 'ifAbsent' | 'signal'>;
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
  abortSignal: AbortSignal | undefined,
): Promise<Part> {
  abortSignal?.throwIfAborted();
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
    return { number, size: bytes.length, etag };
  } catch (error) {
    throw s3Error(error, key);
  }
}

/** Makes the parts one blob. */
export async function completeUpload(
  { client, bucket, key, options }: Target,
  uploadId: string,
  parts: readonly Part[],
): Promise<void> {
  options.signal?.throwIfAborted();
  try {
    await client.send(
      new CompleteMultipartUploadCommand({
        Bucket: bucket,
        Key: key,
        UploadId: uploadId,
        MultipartUpload: { Parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) },
      }),
      { abortSignal: options.signal },
    );
  } catch (error) {
    options.signal?.throwIfAborted();
    // The answer of a first try was lost and the SDK's others found the upload gone: it may have succeeded. AWS says
    // 404 then, radosgw 500.
    if (isStatus(error, 404) || !isRefusal(error)) {
      const found = await client
        .send(new HeadObjectCommand({ Bucket: bucket, Key: key }))
        .catch(() => undefined);
      if (found && isMadeOf(found, parts)) return;
    }
    throw s3Error(error, key);
  }
}

/**
 * Whether an object is the one that the parts make. Its ETag is the MD5 of the parts' MD5s and their number, except
 * under encryption with KMS keys, where ETags are no MD5s and only the number of parts shows.
 */
function isMadeOf(
  { ContentLength: length, ETag: etag, ServerSideEncryption: encryption }: HeadObjectCommandOutput,
  parts: readonly Part[],
): boolean {
  if (length !== parts.reduce((sum, { size }) => sum + size, 0)) return false;
  if (encryption?.startsWith('aws:kms')) return etag?.endsWith(`-${parts.length}"`) === true;
  const hash = createHash('md5');
  for (const part of parts) hash.update(Buffer.from(part.etag.replaceAll('"', ''), 'hex'));
  return etag === `"${hash.digest('hex')}-${parts.length}"`;
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
