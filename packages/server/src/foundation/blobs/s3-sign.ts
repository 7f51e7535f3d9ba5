import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  type S3Client,
  type ServiceInputTypes,
  type ServiceOutputTypes,
} from '@aws-sdk/client-s3';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import {
  StoreUnavailable,
  type DirectOperation,
  type PresignGetOptions,
  type SignedRequest,
  type SignOptions,
} from './blob-store.js';
import { assertKey } from './keys.js';
import { assertPartNumber } from './parts.js';

/** The longest that AWS signs for (7 days), in seconds. */
const longestSignature = 604_800;

export interface S3Signer {
  get(key: string, options: PresignGetOptions): Promise<string>;
  direct(operation: DirectOperation, options: SignOptions): Promise<SignedRequest>;
}

/** Signs requests for whoever reaches the store as `client` does; no request is made. */
export function createSigner(client: S3Client, bucket: string): S3Signer {
  /** A signature dies with the temporary credentials that made it; promising more would hand out dead links. */
  const secondsFor = async ({ expiresIn, signedAt }: SignOptions): Promise<number> => {
    const { expiration } = await client.config.credentials();
    const ceiling = expiration ? Math.floor((expiration.getTime() - signedAt.getTime()) / 1000) : Infinity;
    return Math.max(1, Math.min(expiresIn, ceiling, longestSignature));
  };

  const sign = async ({ headers, url }: Unsigned, options: SignOptions): Promise<string> =>
    url(client, {
      expiresIn: await secondsFor(options),
      signingDate: options.signedAt,
      // The presigner leaves the type out unless it is named here; the others are signed because they are there.
      signableHeaders: new Set(Object.keys(headers)),
      unhoistableHeaders: new Set(Object.keys(headers)),
    });

  const form = async (
    { key, minBytes, maxBytes, contentType }: Extract<DirectOperation, { kind: 'post' }>,
    options: SignOptions,
  ): Promise<SignedRequest> => {
    // The SDK counts from now; what was promised counts from `signedAt`.
    const ends = options.signedAt.getTime() + (await secondsFor(options)) * 1000;
    const { url, fields } = await createPresignedPost(client, {
      Bucket: bucket,
      Key: key,
      Conditions: [['content-length-range', minBytes, maxBytes]],
      Fields: contentType === undefined ? {} : { 'Content-Type': contentType },
      Expires: Math.max(1, Math.floor((ends - Date.now()) / 1000)),
    });
    return { method: 'POST', url, headers: {}, fields };
  };

  const direct = async (operation: DirectOperation, options: SignOptions): Promise<SignedRequest> => {
    assertKey(operation.key);
    if (operation.kind === 'post') return form(operation, options);
    const unsigned = requestOf(operation, bucket);
    const url = await sign(unsigned, options);
    // A checksum of the empty body, which the SDK may put in, would make the store refuse every other one.
    if (/x-amz-(sdk-)?checksum/i.test(url)) {
      throw new StoreUnavailable('the SDK signed a checksum of a body that it does not know', operation.key);
    }
    return { method: unsigned.method, url, headers: unsigned.headers };
  };

  const get = (key: string, wanted: PresignGetOptions): Promise<string> => {
    assertKey(key);
    const command = new GetObjectCommand({
      Bucket: bucket,
      Key: key,
      ResponseContentType: wanted.contentType,
      ResponseContentDisposition: wanted.contentDisposition,
      ResponseCacheControl: wanted.cacheControl,
    });
    return sign({ method: 'GET', url: urlOf(command), headers: {} }, wanted);
  };

  return { get, direct };
}

interface Unsigned {
  readonly method: SignedRequest['method'];
  readonly headers: Readonly<Record<string, string>>;
  readonly url: (client: S3Client, options: SigningArguments) => Promise<string>;
}

type SigningArguments = Parameters<typeof getSignedUrl>[2];
/** `getSignedUrl` for a command whose type is known here and not where it is signed. */
type Command<Input extends ServiceInputTypes, Output extends ServiceOutputTypes> = Parameters<
  typeof getSignedUrl<ServiceInputTypes, Input, Output>
>[1];

function urlOf<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
  command: Command<Input, Output>,
): Unsigned['url'] {
  return (client, options) => getSignedUrl(client, command, options);
}

function requestOf(operation: Exclude<DirectOperation, { kind: 'post' }>, bucket: string): Unsigned {
  const at = { Bucket: bucket, Key: operation.key };
  switch (operation.kind) {
    case 'put': {
      const { size, contentType, contentMd5 } = operation;
      return {
        method: 'PUT',
        url: urlOf(
          new PutObjectCommand({
            ...at,
            ContentLength: size,
            ContentType: contentType,
            ContentMD5: contentMd5,
          }),
        ),
        headers: {
          ...(size !== undefined && { 'content-length': String(size) }),
          ...(contentType !== undefined && { 'content-type': contentType }),
          ...(contentMd5 !== undefined && { 'content-md5': contentMd5 }),
        },
      };
    }
    case 'begin-multipart': {
      const { contentType } = operation;
      return {
        method: 'POST',
        url: urlOf(new CreateMultipartUploadCommand({ ...at, ContentType: contentType })),
        headers: contentType === undefined ? {} : { 'content-type': contentType },
      };
    }
    case 'put-part': {
      const { uploadId, number, size } = operation;
      assertPartNumber(number);
      return {
        method: 'PUT',
        url: urlOf(
          new UploadPartCommand({
            ...at,
            UploadId: uploadId,
            PartNumber: number,
            ContentLength: size,
          }),
        ),
        headers: size === undefined ? {} : { 'content-length': String(size) },
      };
    }
    case 'list-parts':
      return {
        method: 'GET',
        url: urlOf(new ListPartsCommand({ ...at, UploadId: operation.uploadId })),
        headers: {},
      };
    case 'complete-multipart':
      return {
        method: 'POST',
        url: urlOf(new CompleteMultipartUploadCommand({ ...at, UploadId: operation.uploadId })),
        headers: {},
      };
    case 'abort-multipart':
      return {
        method: 'DELETE',
        url: urlOf(new AbortMultipartUploadCommand({ ...at, UploadId: operation.uploadId })),
        headers: {},
      };
  }
}
