import { HeadBucketCommand, HeadObjectCommand, type HeadObjectCommandOutput } from '@aws-sdk/client-s3';
import { BlobMissing, StoreUnavailable } from './blob-store.js';
import type { S3Clients } from './s3-clients.js';
import { isStatus, s3Error } from './s3-errors.js';

export interface Heads {
  /** What the store knows of an object; rejects with `BlobMissing` when there is none. */
  of(key: string): Promise<HeadObjectCommandOutput & { readonly ContentLength: number }>;
  /** What a 404 for a key means: a wrong bucket must not make every blob look lost. */
  missingOrWorse(key: string, cause: unknown): Promise<Error>;
}

export function createHeads({ read }: S3Clients, bucket: string): Heads {
  const missingOrWorse = async (key: string, cause: unknown): Promise<Error> => {
    try {
      await read.send(new HeadBucketCommand({ Bucket: bucket }));
    } catch (error) {
      if (isStatus(error, 404)) return noSuchBucket(bucket);
      // Credentials that may read objects but not the bucket: the 404 is all that is known.
      if (!isStatus(error, 403)) return s3Error(error, key);
    }
    return new BlobMissing('there is no blob under this key', key, { cause });
  };

  const of: Heads['of'] = async (key) => {
    let answer;
    try {
      answer = await read.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
    } catch (error) {
      throw isStatus(error, 404) ? await missingOrWorse(key, error) : s3Error(error, key);
    }
    const { ContentLength: size } = answer;
    if (size === undefined) throw new StoreUnavailable('the store answers a head without a length', key);
    return { ...answer, ContentLength: size };
  };

  return { of, missingOrWorse };
}

function noSuchBucket(bucket: string): StoreUnavailable {
  return new StoreUnavailable(`the bucket ${bucket} does not exist or lies in another account or region`, '');
}
