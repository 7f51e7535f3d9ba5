import { createHmac, createSecretKey, hkdfSync, timingSafeEqual, type KeyObject } from 'node:crypto';

import type { BlobStore, DirectOperation, SignedRequest } from '../../../foundation/blobs/blob-store.js';
import type { Clock } from '../../../foundation/clock.js';
import { Problem } from '../../../foundation/problems.js';

/** Makes the requests by which clients send their bytes themselves. */
export interface UploadSigner {
  /** @param expiresIn seconds. */
  sign(
    upload: { readonly id: string; readonly project_id: string },
    operation: DirectOperation,
    expiresIn: number,
  ): Promise<SignedRequest>;
}

/** The other half of it, where the store has no addresses that clients could use. */
export interface OwnSigner extends UploadSigner {
  /**
   * What a signed request to our own address may do.
   * @param query of the request, as it came.
   * @throws Problem `forbidden`, `link-expired`.
   */
  verify(method: string, uploadId: string, query: readonly (readonly [string, string])[]): OwnOperation;
}

/** An operation as it stands in our own signed addresses; the key is the upload's own. */
export interface OwnOperation {
  readonly projectId: string;
  readonly kind: DirectOperation['kind'];
  /** Exact bytes of the body, or the least and most. */
  readonly size: number | undefined;
  readonly maxBytes: number | undefined;
  readonly contentType: string | undefined;
  readonly contentMd5: string | undefined;
  readonly multipartId: string | undefined;
  readonly number: number | undefined;
}

export interface OwnSignerOptions {
  /** The secret that signs, then those that still verify. */
  readonly secrets: readonly [string, ...string[]];
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
  readonly clock: Clock;
}

/** Path of our own addresses, before the upload's id. */
export const stagingPath = '/staging';

const methods = {
  put: 'PUT',
  post: 'POST',
  'begin-multipart': 'POST',
  'put-part': 'PUT',
  'list-parts': 'GET',
  'complete-multipart': 'POST',
  'abort-multipart': 'DELETE',
} as const satisfies Record<DirectOperation['kind'], SignedRequest['method']>;

/** Signs with the store where it can, else addresses of our own. */
export function createUploadSigner(
  blobs: Pick<BlobStore, 'signDirect'>,
  own: OwnSigner,
  clock: Clock,
): UploadSigner {
  return {
    async sign(upload, operation, expiresIn) {
      const signed = await blobs.signDirect(operation, { expiresIn, signedAt: new Date(clock.now()) });
      return signed ?? own.sign(upload, operation, expiresIn);
    },
  };
}

/** Signed addresses of our own: everything in the query is signed, with method and upload. */
export function createOwnSigner({ secrets, publicUrl, clock }: OwnSignerOptions): OwnSigner {
  const keys = secrets.map(keyOf);
  const [current] = keys as [KeyObject, ...KeyObject[]];
  return {
    async sign({ id: uploadId, project_id: project }, operation, expiresIn) {
      const method = methods[operation.kind];
      const query: [string, string][] = Object.entries({
        do: operation.kind,
        project,
        size: 'size' in operation ? operation.size : undefined,
        most: operation.kind === 'post' ? operation.maxBytes : undefined,
        type: 'contentType' in operation ? operation.contentType : undefined,
        md5: operation.kind === 'put' ? operation.contentMd5 : undefined,
        multipart: 'uploadId' in operation ? operation.uploadId : undefined,
        part: operation.kind === 'put-part' ? operation.number : undefined,
        exp: Math.ceil(clock.now() / 1000) + expiresIn,
      }).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
      query.push(['sig', signature(current, method, uploadId, query)]);
      const url = `${publicUrl}${stagingPath}/${uploadId}?${new URLSearchParams(query).toString()}`;
      const headers = {
        ...('contentType' in operation && operation.contentType !== undefined && method === 'PUT'
          ? { 'content-type': operation.contentType }
          : {}),
        ...(operation.kind === 'put' && operation.contentMd5 !== undefined
          ? { 'content-md5': operation.contentMd5 }
          : {}),
      };
      return {
        method,
        url,
        headers,
        // A form's fields go before the file; ours are all in the address.
        ...(operation.kind === 'post' ? { fields: { key: operation.key } } : {}),
      };
    },
    verify(method, uploadId, query) {
      const values = new Map(query);
      const given = values.get('sig') ?? '';
      const signed = query.filter(([name]) => name !== 'sig');
      const kind = values.get('do') ?? '';
      const fits =
        values.size === query.length &&
        isKind(kind) &&
        methods[kind] === method &&
        keys.some((key) => equal(given, signature(key, method, uploadId, signed)));
      if (!fits) throw new Problem('forbidden', { detail: 'The signature does not fit this request.' });
      if (!(Number(values.get('exp')) * 1000 > clock.now())) throw new Problem('link-expired');
      const number = (name: string) => (values.has(name) ? Number(values.get(name)) : undefined);
      return {
        kind,
        projectId: values.get('project') ?? '',
        size: number('size'),
        maxBytes: number('most'),
        contentType: values.get('type'),
        contentMd5: values.get('md5'),
        multipartId: values.get('multipart'),
        number: number('part'),
      };
    },
  };
}

function isKind(text: string): text is DirectOperation['kind'] {
  return Object.hasOwn(methods, text);
}

/** A key of its own for this purpose: no signature of a link is ever one of an upload (RFC 5869). */
function keyOf(secret: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', 'mbk-staging-1', 32)));
}

function signature(
  key: KeyObject,
  method: string,
  uploadId: string,
  query: readonly (readonly [string, string])[],
): string {
  const lines = query.map(([name, value]) => `${encodeURIComponent(name)}=${encode(value)}`).sort();
  return createHmac('sha256', key)
    .update([method, uploadId, ...lines].join('\n'))
    .digest('base64url');
}

function encode(text: string): string {
  return encodeURIComponent(text.replace(/\p{Cs}/gu, '\ufffd'));
}

function equal(given: string, expected: string): boolean {
  const a = Buffer.from(given, 'utf8');
  const b = Buffer.from(expected, 'utf8');
  return a.length === b.length && timingSafeEqual(a, b);
}
