import type { DirectOperation, SignedRequest } from '../../../foundation/blobs/blob-store.js';
import { isId } from '../../../foundation/ids.js';
import { Problem } from '../../../foundation/problems.js';
import type { Caller } from '../../access/caller.js';
import type { UploadRow } from '../../files/upload-queries.js';
import { findProject } from '../../projects/queries.js';
import { findUploadRules } from '../../keys/upload-rules-queries.js';
import { policyOf } from '../policy.js';
import { beginUpload, openOne, sign, type DirectOptions } from './operations.js';

/** What `signRequest` of `@uppy/aws-s3` 6 is asked for; any client that speaks S3 by itself may ask the same. */
export interface SignWish {
  readonly method: 'PUT' | 'POST' | 'GET' | 'DELETE';
  /** The file's name for a new upload; the `key` of the first answer from then on. */
  readonly key: string;
  readonly contentType?: string;
  /** Of a multipart upload in the store. */
  readonly uploadId?: string;
  readonly partNumber?: number;
  /** Bytes of the file, when the client can tell; they are then signed and reserved. */
  readonly size?: number;
}

export interface SignedWish {
  /** Of the upload, for `complete`. */
  readonly id: string;
  readonly key: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fields?: Readonly<Record<string, string>>;
}

const stagedKey = /^\.staging\/([0-9a-f-]{36})$/;

/**
 * Signs one request of a client that speaks S3 by itself. The first one of a file makes its upload; whatever is signed
 * can only write that upload's own staging key, or the parts of it.
 */
export async function signWish(
  options: DirectOptions,
  projectId: string,
  caller: Caller,
  wish: SignWish,
): Promise<SignedWish> {
  const id = stagedKey.exec(wish.key)?.[1];
  const upload =
    id === undefined || !isId(id)
      ? await beginUpload(options, projectId, caller, {
          filename: wish.key,
          size: wish.size ?? null,
          type: wish.contentType,
          sha256: undefined,
          metadata: {},
        })
      : await openOne(options, projectId, id);
  const signed = await sign(options, upload, await operationOf(options, upload, wish));
  return { id: upload.id, key: upload.staging_key, ...answerOf(signed) };
}

async function operationOf(
  options: DirectOptions,
  upload: UploadRow,
  { method, contentType, uploadId, partNumber }: SignWish,
): Promise<DirectOperation> {
  const { staging_key: key, size } = upload;
  const type = contentType === undefined ? {} : { contentType };
  if (uploadId === undefined) {
    if (method === 'POST') return { kind: 'begin-multipart', key, ...type };
    if (method !== 'PUT') throw unknown(method);
    if (size !== null) return { kind: 'put', key, size, ...type };
    // A form has a limit that the store itself holds; an address for a body of any size has none.
    const { signedForms } = await options.blobs.capabilities();
    const maxBytes = await largestOf(options, upload);
    return signedForms
      ? { kind: 'post', key, minBytes: 0, maxBytes, ...type }
      : { kind: 'put', key, ...type };
  }
  switch (method) {
    case 'PUT':
      if (partNumber === undefined) throw unknown('PUT without partNumber');
      return { kind: 'put-part', key, uploadId, number: partNumber };
    case 'GET':
      return { kind: 'list-parts', key, uploadId };
    case 'POST':
      return { kind: 'complete-multipart', key, uploadId };
    case 'DELETE':
      return { kind: 'abort-multipart', key, uploadId };
  }
}

async function largestOf(
  options: DirectOptions,
  { project_id: projectId, created_by_key: keyId }: UploadRow,
): Promise<number> {
  const project = await findProject(options.db, projectId);
  if (!project) throw new Problem('not-found');
  const key = await findUploadRules(options.db, projectId, keyId);
  return policyOf({ ...options, settings: project.settings, key }).maxBytes;
}

/** Browsers set the length of a body by themselves and let nobody else do it. */
function answerOf({ url, headers, fields }: SignedRequest): Omit<SignedWish, 'id' | 'key'> {
  return {
    url,
    headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'content-length')),
    ...(fields && { fields }),
  };
}

function unknown(what: string): Problem {
  return new Problem('invalid-request', {
    detail: 'This is no request of an upload.',
    errors: [{ pointer: '/method', detail: `${what} is not signed` }],
  });
}
