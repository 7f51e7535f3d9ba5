import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  type BucketLocationConstraint,
} from '@aws-sdk/client-s3';
import pLimit from 'p-limit';
import { Readable } from 'node:stream';
import type { Log } from '../log.js';
import {
  BlobMissing,
  StoreUnavailable,
  Unsupported,
  type Blob,
  type BlobStat,
  type BlobStore,
  type GetOptions,
} from './blob-store.js';
import { abortable, assertRange, guardLength, truncated } from './body-window.js';
import { assertKey } from './keys.js';
import { probeStore, removeOldProbes } from './probe.js';
import { createCapabilities } from './s3-capabilities.js';
import { openClients, type S3Access } from './s3-clients.js';
import { createS3Copy, type CopyLimits } from './s3-copy.js';
import { deleteBatches } from './s3-delete.js';
import { isStatus, s3Error } from './s3-errors.js';
import { createHeads } from './s3-head.js';
import { listObjects } from './s3-list.js';
import { createS3Multipart } from './s3-parts.js';
import { createPut } from './s3-put.js';
import { createSigner } from './s3-sign.js';
import { abortStaleUploads } from './s3-unfinished.js';

export interface S3StoreOptions extends S3Access {
  /** Where browsers reach the store, when that is not `endpoint`; used for presigned URLs only. */
  readonly publicEndpoint?: string | undefined;
  /** Makes the bucket when there is none. It stays private: no policy and no ACL is ever set. */
  readonly createBucket?: boolean | undefined;
  /** Where copies begin to be made in parts; S3's own bounds when absent. */
  readonly copyLimits?: CopyLimits | undefined;
  readonly log: Log;
}

/** Parts on their way in the whole process, whatever the number of uploads: at most 128 MiB of 8 MiB parts. */
const partsInAll = 16;

/**
 * Blobs as objects of one bucket. Opening makes no request unless the bucket may have to be made; `check` tells
 * whether the store can be used.
 */
export async function openS3Store(options: S3StoreOptions): Promise<BlobStore> {
  const { bucket, log } = options;
  const clients = openClients(options);
  const outside = options.publicEndpoint
    ? openClients({ ...options, endpoint: options.publicEndpoint })
    : clients;
  const signer = createSigner(outside.write, bucket);
  const heads = createHeads(clients, bucket);
  const sending = pLimit(partsInAll);
  const multipart = createS3Multipart({ clients, bucket, heads, sending });

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
      if (isStatus(error, 404)) throw await heads.missingOrWorse(key, error);
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

  const stat = async (key: string): Promise<BlobStat | undefined> => {
    assertKey(key);
    try {
      const { ContentLength: size, LastModified: lastModified } = await heads.of(key);
      if (!lastModified) throw new StoreUnavailable('the store answers a stat without a date', key);
      return { key, size, lastModified };
    } catch (error) {
      if (error instanceof BlobMissing) return undefined;
      throw error;
    }
  };

  const deleteOne = async (key: string): Promise<void> => {
    assertKey(key);
    try {
      await clients.write.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    } catch (error) {
      if (!isStatus(error, 404)) throw s3Error(error, key);
      const reason = await heads.missingOrWorse(key, error);
      if (!(reason instanceof BlobMissing)) throw reason;
    }
  };

  const capabilities = createCapabilities({
    clients,
    bucket,
    multipart,
    signer: createSigner(clients.write, bucket),
    remove: deleteOne,
    sizeOf: async (key) => (await stat(key))?.size,
  });

  const signDirect: BlobStore['signDirect'] = async (operation, wanted) => {
    if (operation.kind === 'post' && !(await capabilities.has('signedForms'))) {
      throw new Unsupported('this store has no forms (POST policies)', operation.key);
    }
    return signer.direct(operation, wanted);
  };

  const self: BlobStore = {
    backend: 's3',
    put: createPut({
      client: clients.write,
      bucket,
      log,
      sending,
      mayPutIfAbsent: () => capabilities.has('conditionalPut'),
    }),
    get,
    stat,
    delete: deleteOne,
    deleteMany: (keys) => deleteBatches(clients.write, bucket, keys),
    list: (listing) => listObjects(clients.read, bucket, listing),
    multipart,
    copy: createS3Copy({ clients, bucket, heads, log, limits: options.copyLimits }),
    presignGet: async (key, wanted) => signer.get(key, wanted),
    signDirect,
    capabilities: () => capabilities.all(),
    removeStaleTemporaries: async (olderThanMs, keep = () => false) =>
      (await abortStaleUploads(clients.write, bucket, olderThanMs, keep)) + (await removeOldProbes(self)),
    check: () => probeStore(self),
    close: () => {
      clients.close();
      if (outside !== clients) outside.close();
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

/** Size of the whole blob from `Content-Range: bytes 0-9/100`; undefined when the answer is another range. */
function sizeOf(contentRange: string | undefined, start: number, length: number): number | undefined {
  // A server may answer a range that is the whole blob with 200 and no Content-Range.
  if (contentRange === undefined) return start === 0 ? length : undefined;
  const [, first, size] = /^bytes (\d+)-\d+\/(\d+)$/.exec(contentRange) ?? [];
  return Number(first) === start && size !== undefined ? Number(size) : undefined;
}
