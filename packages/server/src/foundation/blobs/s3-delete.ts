import { DeleteObjectsCommand, type S3Client } from '@aws-sdk/client-s3';
import { createHash } from 'node:crypto';
import { InvalidKey } from './blob-store.js';
import { assertKey } from './keys.js';
import { s3Error } from './s3-errors.js';

/** The most that S3 takes in one request. */
const batchKeys = 1_000;

/** Removes keys a thousand at a time; returns those that the store would not remove, with its reasons. */
export async function deleteBatches(
  client: S3Client,
  bucket: string,
  keys: readonly string[],
): Promise<readonly { readonly key: string; readonly reason: string }[]> {
  const failed: { key: string; reason: string }[] = [];
  const valid: string[] = [];
  for (const key of keys) {
    try {
      assertKey(key);
      valid.push(key);
    } catch (error) {
      if (!(error instanceof InvalidKey)) throw error;
      failed.push({ key, reason: error.message });
    }
  }
  for (let at = 0; at < valid.length; at += batchKeys) {
    const batch = valid.slice(at, at + batchKeys);
    try {
      failed.push(...(await deleteBatch(client, bucket, batch)));
    } catch (error) {
      const reason = s3Error(error, '').message;
      failed.push(...batch.map((key) => ({ key, reason })));
    }
  }
  return failed;
}

async function deleteBatch(
  client: S3Client,
  bucket: string,
  keys: readonly string[],
): Promise<{ key: string; reason: string }[]> {
  const command = new DeleteObjectsCommand({
    Bucket: bucket,
    Delete: { Quiet: true, Objects: keys.map((key) => ({ Key: key })) },
  });
  // S3 demands a checksum here. The SDK sends CRC32, which servers of before 2025 do not count as one.
  command.middlewareStack.add(
    (next) => (args) => {
      const request: unknown = args.request;
      if (isXmlRequest(request)) {
        const headers = Object.entries(request.headers).filter(
          ([name]) => !/^x-amz-(sdk-)?checksum-/i.test(name),
        );
        const md5 = createHash('md5').update(request.body).digest('base64');
        request.headers = Object.fromEntries([...headers, ['content-md5', md5]]);
      }
      return next(args);
    },
    { step: 'build', priority: 'low', name: 'contentMd5' },
  );
  const { Errors: errors } = await client.send(command);
  return (errors ?? [])
    .filter(({ Code: code }) => code !== 'NoSuchKey')
    .map(({ Key: key = '', Code: code = 'Error', Message: message = '' }) => ({
      key,
      reason: `${code}: ${message}`,
    }));
}

interface XmlRequest {
  headers: Record<string, string>;
  readonly body: string | Uint8Array;
}

function isXmlRequest(request: unknown): request is XmlRequest {
  if (typeof request !== 'object' || request === null || !('headers' in request) || !('body' in request))
    return false;
  return typeof request.body === 'string' || request.body instanceof Uint8Array;
}
