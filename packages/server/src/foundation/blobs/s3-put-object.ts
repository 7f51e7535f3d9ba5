import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { BlobExists, Unsupported } from './blob-store.js';
import { attemptsOf, isStatus, s3Error } from './s3-errors.js';
import type { Target } from './s3-multipart.js';

/** Two conditional puts at the same moment may both be told to try again (AWS: 409 ConditionalRequestConflict). */
const conflicts = 5;
const conflictMs = 100;

/** Stores the bytes in one request, and gives their number. */
export async function putObject(target: Target, bytes: Buffer): Promise<number> {
  const { client, bucket, key, options } = target;
  for (let conflict = 1; ; conflict++) {
    options.signal?.throwIfAborted();
    try {
      await client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: key,
          Body: bytes,
          ContentLength: bytes.length,
          ContentType: options.contentType,
          ...(options.ifAbsent && { IfNoneMatch: '*' }),
        }),
        { abortSignal: options.signal },
      );
      return bytes.length;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!options.ifAbsent) throw s3Error(error, key);
      if (isStatus(error, 409) && conflict < conflicts) {
        await delay(conflict * conflictMs, undefined, options.signal && { signal: options.signal });
        continue;
      }
      if (isStatus(error, 412)) {
        // The answer to a first try was lost and the SDK's second found what the first had stored.
        if (attemptsOf(error) > 1 && (await holds(target, bytes))) return bytes.length;
        throw new BlobExists('there is a blob under this key', key, { cause: error });
      }
      if (isStatus(error, 501)) {
        throw new Unsupported('this store has no put if absent', key, { cause: error });
      }
      throw s3Error(error, key);
    }
  }
}

/** Whether the key holds these very bytes, by reading it: an ETag is no digest in an encrypted bucket. */
async function holds({ client, bucket, key }: Target, bytes: Buffer): Promise<boolean> {
  try {
    const { Body: body, ContentLength: size } = await client.send(
      new GetObjectCommand({ Bucket: bucket, Key: key }),
    );
    if (!(body instanceof Readable)) return false;
    if (size !== bytes.length) {
      body.destroy();
      return false;
    }
    return bytes.equals(await buffer(body));
  } catch (error) {
    throw s3Error(error, key);
  }
}
