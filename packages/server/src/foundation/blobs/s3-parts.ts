import { ListPartsCommand, type S3Client } from '@aws-sdk/client-s3';
import type { LimitFunction } from 'p-limit';
import type { Readable } from 'node:stream';
import {
  MultipartMissing,
  PartsRefused,
  StoreUnavailable,
  type MultipartBlobs,
  type Part,
} from './blob-store.js';
import { bodyBatches, mismatch } from './body-batches.js';
import { assertKey } from './keys.js';
import { assertPartNumber, assertPartSize, mostParts, totalOf } from './parts.js';
import type { S3Clients } from './s3-clients.js';
import { isNoUpload, refusedParts, s3Error } from './s3-errors.js';
import type { Heads } from './s3-head.js';
import { beginUpload, completeUpload, sendPart, type Target } from './s3-multipart.js';
import { dropUpload, listUnfinished } from './s3-unfinished.js';

const mebibyte = 1024 * 1024;
/** S3's own bound, the last part excepted. */
const smallestPart = 5 * mebibyte;
/** A part stays in memory until it has arrived, so that it can be sent again. */
const largestPart = 64 * mebibyte;

export interface S3PartsParts {
  readonly clients: S3Clients;
  readonly bucket: string;
  readonly heads: Heads;
  /** How many parts the process sends at once, whoever sends them. */
  readonly sending: LimitFunction;
}

/** Puts in parts as multipart uploads. */
export function createS3Multipart({ clients, bucket, heads, sending }: S3PartsParts): MultipartBlobs {
  const { write } = clients;
  const targetOf = (key: string, options: Target['options'] = {}): Target => {
    assertKey(key);
    return { client: write, bucket, key, options };
  };

  const sendBytes = async (
    target: Target,
    uploadId: string,
    number: number,
    bytes: Buffer,
  ): Promise<Part> => {
    const { key, options } = target;
    try {
      return await sending(() => sendPart(target, uploadId, number, bytes, options.signal));
    } catch (error) {
      options.signal?.throwIfAborted();
      throw meaning(error, key);
    }
  };

  const put: MultipartBlobs['put'] = async (key, uploadId, number, body, options = {}) => {
    const { size, signal } = options;
    const check = (): Target => {
      const target = targetOf(key, options);
      assertPartNumber(number);
      assertPartSize(size ?? 0, largestPart, key);
      signal?.throwIfAborted();
      return target;
    };
    if (Buffer.isBuffer(body)) {
      const target = check();
      assertPartSize(body.length, largestPart, key);
      if (size !== undefined && size !== body.length) throw mismatch(key, size, String(body.length));
      return sendBytes(target, uploadId, number, body);
    }
    // Whoever reads the body gets its error; before that nobody listens, and it would end the process.
    body.on('error', () => undefined);
    try {
      const target = check();
      return await sendBytes(target, uploadId, number, await gather(body, key, { size, signal }));
    } finally {
      body.destroy();
    }
  };

  const partsOf: MultipartBlobs['parts'] = async (key, uploadId) => {
    const { client } = targetOf(key);
    try {
      return await listParts(client, bucket, key, uploadId);
    } catch (error) {
      throw meaning(error, key);
    }
  };

  const complete: MultipartBlobs['complete'] = async (key, uploadId, parts) => {
    const target = targetOf(key);
    totalOf(parts, smallestPart, key);
    try {
      await completeUpload({ ...target, client: clients.patient }, uploadId, parts);
    } catch (error) {
      const failure = meaning(error, key);
      // radosgw answers 500 for an upload that is over; only its list of parts tells.
      if (failure instanceof StoreUnavailable) await partsOf(key, uploadId);
      throw failure;
    }
    // The parts' sizes are what somebody said; this is what the blob has.
    return { size: (await heads.of(key)).ContentLength };
  };

  return {
    smallestPart,
    largestPart,
    mostParts,
    begin: async (key, options) => beginUpload(targetOf(key, options)),
    put,
    parts: partsOf,
    complete,
    abort: async (key, uploadId) => {
      targetOf(key);
      await dropUpload(write, bucket, { key, uploadId });
    },
    list: (prefix) => listUnfinished(clients.read, bucket, prefix),
  };
}

async function listParts(client: S3Client, bucket: string, key: string, uploadId: string): Promise<Part[]> {
  const parts: Part[] = [];
  let marker: string | undefined;
  do {
    const page = await client.send(
      new ListPartsCommand({ Bucket: bucket, Key: key, UploadId: uploadId, PartNumberMarker: marker }),
    );
    for (const { PartNumber: number, Size: size, ETag: etag } of page.Parts ?? []) {
      if (number !== undefined && size !== undefined && etag !== undefined)
        parts.push({ number, size, etag });
    }
    marker = page.IsTruncated ? page.NextPartNumberMarker : undefined;
  } while (marker !== undefined);
  return parts;
}

/** The bytes of a part. Memory grows with what arrives, not with what was declared. */
async function gather(
  body: Readable,
  key: string,
  { size, signal }: { readonly size?: number | undefined; readonly signal?: AbortSignal | undefined },
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let gathered = 0;
  for await (const batch of bodyBatches(body, key, { batchBytes: mebibyte, exact: true, size, signal })) {
    const piece = Buffer.concat(batch);
    gathered += piece.length;
    assertPartSize(gathered, largestPart, key);
    pieces.push(piece);
  }
  return pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
}

/** What a failed request on an upload means to the caller. */
function meaning(error: unknown, key: string): Error {
  const cause = error instanceof Error ? error.cause : undefined;
  if (isNoUpload(cause ?? error)) {
    return new MultipartMissing('there is no such upload for this key', key, { cause: error });
  }
  const refusal = refusedParts(cause ?? error);
  if (refusal !== undefined) return new PartsRefused(refusal, key, { cause: error });
  return s3Error(error, key);
}
