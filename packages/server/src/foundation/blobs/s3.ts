import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  type BucketLocationConstraint,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { Readable } from 'node:stream';
import type { Log } from '../log.js';
import {
  BlobMissing,
  StoreUnavailable,
  type Blob,
  type BlobStat,
  type BlobStore,
  type GetOptions,
  type PresignGetOptions,
} from './blob-store.js';
import { abortable, assertRange, guardLength, truncated } from './body-window.js';
import { assertKey } from './keys.js';
import { probeStore, removeOldProbes } from './probe.js';
import { openClients, type S3Access } from './s3-clients.js';
import { deleteBatches } from './s3-delete.js';
import { isStatus, s3Error } from './s3-errors.js';
import { listObjects } from './s3-list.js';
import { abortStaleUploads } from './s3-multipart.js';
import { createPut } from './s3-put.js';

export interface S3StoreOptions extends S3Access {
  /** Where browsers reach the store, when that is not `endpoint`; used for presigned URLs only. */
  readonly publicEndpoint?: string | undefined;
  /** Makes the bucket when there is none. It stays private: no policy and no ACL is ever set. */
  readonly createBucket?: boolean | undefined;
  readonly log: Log;
}

/** The longest that AWS signs for (7 days), in seconds. */
const longestSignature = 604_800;

/**
 * Blobs as objects of one bucket. Opening makes no request unless the bucket may have to be made; `check` tells
 * whether the store can be used.
 */
export async function openS3Store(options: S3StoreOptions): Promise<BlobStore> {
  const { bucket, log } = options;
  const clients = openClients(options);
  const signer = options.publicEndpoint
    ? openClients({ ...options, endpoint: options.publicEndpoint })
    : clients;
  const put = createPut(clients.write, bucket, log);

  const get = async (key: string, { range, signal }: GetOptions = {}): Promise<Blob> => {
    assertKey(key);
    assertRange(range);
    signal?.throwIfAborted();
    const wanted = range && `bytes=${range.start}-${range.end}`;
    let answer;
    try {
      answer = await clients.read.send(new GetObjectCommand({ Bucket: bucket, Key: key, Range: wanted }), {
        abortSignal: signal,
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (range && isStatus(error, 416)) throw truncated(key, `it ends before byte ${range.end}`, error);
      if (isStatus(error, 404)) throw await missingOrWorse(key, error);
      throw s3Error(error, key);
    }
    const {
      Body: body,
      ContentLength: length,
      ContentRange: contentRange,
      LastModified: lastModified,
    } = answer;
    if (!(body instanceof Readable) || length === undefined || !lastModified) {
      if (body instanceof Readable) body.destroy();
      throw new StoreUnavailable('the store answers a get without body, length or date', key);
    }
    const size = range ? sizeOf(contentRange, range.start, length) : length;
    const expected = range ? range.end - range.start + 1 : length;
    if (size === undefined || length !== expected) {
      body.destroy();
      if (size === undefined) throw new StoreUnavailable('the store does not answer ranges', key);
      throw truncated(key, `it has ${size} bytes, ${wanted} was wanted`);
    }
    return { key, size, lastModified, body: abortable(guardLength(body, expected, key), signal) };
  };

  /** What a 404 for a key means: a wrong bucket must not make every blob look lost. */
  const missingOrWorse = async (key: string, cause: unknown): Promise<Error> => {
    try {
      await clients.read.send(new HeadBucketCommand({ Bucket: bucket }));
    } catch (error) {
      if (isStatus(error, 404)) return noSuchBucket(bucket);
      // Credentials that may read objects but not the bucket: the 404 is all that is known.
      if (!isStatus(error, 403)) return s3Error(error, key);
    }
    return new BlobMissing('there is no blob under this key', key, { cause });
  };

  const stat = async (key: string): Promise<BlobStat | undefined> => {
    assertKey(key);
    try {
      const { ContentLength: size, LastModified: lastModified } = await clients.read.send(
        new HeadObjectCommand({ Bucket: bucket, Key: key }),
      );
      if (size === undefined || !lastModified) {
        throw new StoreUnavailable('the store answers a stat without length or date', key);
      }
      return { key, size, lastModified };
    } catch (error) {
      if (!isStatus(error, 404)) throw s3Error(error, key);
      const reason = await missingOrWorse(key, error);
      if (reason instanceof BlobMissing) return undefined;
      throw reason;
    }
  };

  const deleteOne = async (key: string): Promise<void> => {
    assertKey(key);
    try {
      await clients.write.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    } catch (error) {
      if (!isStatus(error, 404)) throw s3Error(error, key);
      const reason = await missingOrWorse(key, error);
      if (!(reason instanceof BlobMissing)) throw reason;
    }
  };

  const presignGet = async (key: string, wanted: PresignGetOptions): Promise<string> => {
    assertKey(key);
    const { expiration } = await clients.read.config.credentials();
    // A URL dies with the temporary credentials that signed it; promising more would hand out dead links.
    const ceiling = expiration
      ? Math.floor((expiration.getTime() - wanted.signedAt.getTime()) / 1000)
      : Infinity;
    return getSignedUrl(
      signer.read,
      new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        ResponseContentType: wanted.contentType,
        ResponseContentDisposition: wanted.contentDisposition,
        ResponseCacheControl: wanted.cacheControl,
      }),
      {
        expiresIn: Math.max(1, Math.min(wanted.expiresIn, ceiling, longestSignature)),
        signingDate: wanted.signedAt,
      },
    );
  };

  const self: BlobStore = {
    backend: 's3',
    put,
    get,
    stat,
    delete: deleteOne,
    deleteMany: (keys) => deleteBatches(clients.write, bucket, keys),
    list: (listing) => listObjects(clients.read, bucket, listing),
    presignGet,
    removeStaleTemporaries: async (olderThanMs) =>
      (await abortStaleUploads(clients.write, bucket, olderThanMs)) + (await removeOldProbes(self)),
    check: () => probeStore(self),
    close: () => {
      clients.close();
      if (signer !== clients) signer.close();
      return Promise.resolve();
    },
  };

  if (options.createBucket) {
    try {
      await makeBucket(clients, options);
    } catch (error) {
      await self.close();
      throw s3Error(error, '');
    }
  }
  return self;
}

async function makeBucket(clients: ReturnType<typeof openClients>, options: S3StoreOptions): Promise<void> {
  const { bucket, region, endpoint, log } = options;
  try {
    await clients.read.send(new HeadBucketCommand({ Bucket: bucket }));
    return;
  } catch (error) {
    if (!isStatus(error, 404)) throw error;
  }
  // AWS wants the region named, except its first one; other servers know only the region they are.
  const elsewhere = endpoint === undefined && region !== 'us-east-1';
  try {
    await clients.write.send(
      new CreateBucketCommand({
        Bucket: bucket,
        ...(elsewhere && {
          CreateBucketConfiguration: { LocationConstraint: region as BucketLocationConstraint },
        }),
      }),
    );
    log.info({ bucket }, 'made the bucket');
  } catch (error) {
    // Another process that starts at the same time was faster.
    if (!(error instanceof Error && error.name === 'BucketAlreadyOwnedByYou')) throw error;
  }
}

function noSuchBucket(bucket: string): StoreUnavailable {
  return new StoreUnavailable(`the bucket ${bucket} does not exist or lies in another account or region`, '');
}

/** Size of the whole blob from `Content-Range: bytes 0-9/100`; undefined when the answer is another range. */
function sizeOf(contentRange: string | undefined, start: number, length: number): number | undefined {
  // A server may answer a range that is the whole blob with 200 and no Content-Range.
  if (contentRange === undefined) return start === 0 ? length : undefined;
  const [, first, size] = /^bytes (\d+)-\d+\/(\d+)$/.exec(contentRange) ?? [];
  return Number(first) === start && size !== undefined ? Number(size) : undefined;
}
