import { AbortMultipartUploadCommand, ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3';
import type { BlobStore, UnfinishedMultipart } from './blob-store.js';
import { isNoUpload, s3Error } from './s3-errors.js';

/**
 * Pages through the multipart uploads that nobody has finished, one page of 1,000 in memory. Keys are not asked for in
 * URL encoding: radosgw encodes them and does not say so.
 */
export async function* listUnfinished(
  client: S3Client,
  bucket: string,
  prefix: string,
): AsyncGenerator<UnfinishedMultipart> {
  let at: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined = {};
  while (at) {
    let page;
    try {
      page = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix, ...at }));
    } catch (error) {
      throw s3Error(error, prefix);
    }
    for (const { Key: key, UploadId: uploadId, Initiated: begunAt } of page.Uploads ?? []) {
      if (key?.startsWith(prefix) && uploadId && begunAt) yield { key, uploadId, begunAt };
    }
    at = page.IsTruncated
      ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
      : undefined;
  }
}

/** Drops an upload with its parts; an absent one is success. */
export async function dropUpload(
  client: S3Client,
  bucket: string,
  { key, uploadId }: Pick<UnfinishedMultipart, 'key' | 'uploadId'>,
): Promise<void> {
  try {
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }));
  } catch (error) {
    if (!isNoUpload(error)) throw s3Error(error, key);
  }
}

/** Aborts multipart uploads begun more than `olderThanMs` ago and not kept; returns how many. */
export async function abortStaleUploads(
  client: S3Client,
  bucket: string,
  olderThanMs: number,
  keep: NonNullable<Parameters<BlobStore['removeStaleTemporaries']>[1]>,
): Promise<number> {
  let aborted = 0;
  for await (const unfinished of listUnfinished(client, bucket, '')) {
    if (Date.now() - unfinished.begunAt.getTime() <= olderThanMs) continue;
    if (await keep(unfinished)) continue;
    await dropUpload(client, bucket, unfinished);
    aborted += 1;
  }
  return aborted;
}
