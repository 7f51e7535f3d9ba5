import { PutObjectCommand } from '@aws-sdk/client-s3';
import { randomBytes } from 'node:crypto';
import {
  BlobError,
  MultipartMissing,
  StoreUnavailable,
  type MultipartBlobs,
  type StoreCapabilities,
} from './blob-store.js';
import { ownFolder } from './keys.js';
import type { S3Clients } from './s3-clients.js';
import { isRefusal, isRefusalStatus, s3Error, statusOf } from './s3-errors.js';
import type { S3Signer } from './s3-sign.js';

export interface ProbeParts {
  readonly clients: S3Clients;
  readonly bucket: string;
  readonly multipart: MultipartBlobs;
  /** Signs for the endpoint that this process reaches; the public one may be out of its sight. */
  readonly signer: S3Signer;
  readonly remove: (key: string) => Promise<void>;
  readonly sizeOf: (key: string) => Promise<number | undefined>;
}

/** Each ability as a question that is put to the store once; an answer that did not come is asked for again. */
export interface Capabilities {
  has(name: keyof StoreCapabilities): Promise<boolean>;
  all(): Promise<StoreCapabilities>;
}

const limitMs = 10_000;

export function createCapabilities(parts: ProbeParts): Capabilities {
  const known = new Map<keyof StoreCapabilities, Promise<boolean>>();
  const has = (name: keyof StoreCapabilities): Promise<boolean> => {
    let answer = known.get(name);
    if (!answer) {
      answer = tried(probes[name], parts);
      known.set(name, answer);
      answer.catch(() => known.delete(name));
    }
    return answer;
  };
  const all = async (): Promise<StoreCapabilities> => {
    const [conditionalPut, multipart, sealedMultipart, signedUrls, signedForms] = await Promise.all([
      has('conditionalPut'),
      has('multipart'),
      has('sealedMultipart'),
      has('signedUrls'),
      has('signedForms'),
    ]);
    return { conditionalPut, multipart, sealedMultipart, signedUrls, signedForms };
  };
  return { has, all };
}

type Probe = (parts: ProbeParts, key: string, signal: AbortSignal) => Promise<boolean>;

/** Runs one probe under a key of its own, which is removed whatever comes out. */
async function tried(probe: Probe, parts: ProbeParts): Promise<boolean> {
  const key = `${ownFolder}probes/${randomBytes(12).toString('hex')}`;
  const signal = AbortSignal.timeout(limitMs);
  const late = new Promise<never>((_resolve, reject) => {
    const refuse = (): void =>
      reject(new StoreUnavailable(`the store does not answer within ${limitMs} ms`, key));
    signal.addEventListener('abort', refuse, { once: true });
  });
  const round = async (): Promise<boolean> => {
    try {
      return await probe(parts, key, signal);
    } catch (error) {
      if (isRefusal(error) || isRefusal(error instanceof Error ? error.cause : undefined)) return false;
      throw error instanceof BlobError ? error : s3Error(error, key);
    } finally {
      await parts.remove(key);
    }
  };
  return Promise.race([round(), late]);
}

const conditionalPut: Probe = async ({ clients, bucket }, key, abortSignal) => {
  const put = (): Promise<unknown> =>
    clients.write.send(
      new PutObjectCommand({ Bucket: bucket, Key: key, Body: randomBytes(16), IfNoneMatch: '*' }),
      { abortSignal },
    );
  await put();
  try {
    await put();
  } catch (error) {
    if (statusOf(error) === 412) return true;
    throw error;
  }
  // Servers that do not know the condition overwrite.
  return false;
};

const multipart: Probe = async ({ multipart: blobs, sizeOf }, key) => {
  const bytes = randomBytes(64);
  const uploadId = await blobs.begin(key);
  try {
    const part = await blobs.put(key, uploadId, 1, bytes);
    const listed = await blobs.parts(key, uploadId);
    await blobs.complete(key, uploadId, listed);
    return listed[0]?.etag === part.etag && (await sizeOf(key)) === bytes.length;
  } finally {
    await blobs.abort(key, uploadId);
  }
};

const sealedMultipart: Probe = async ({ multipart: blobs }, key) => {
  const uploadId = await blobs.begin(key);
  try {
    await blobs.complete(key, uploadId, [await blobs.put(key, uploadId, 1, randomBytes(64))]);
    await blobs.put(key, uploadId, 1, randomBytes(64));
    return false;
  } catch (error) {
    if (error instanceof MultipartMissing) return true;
    throw error;
  } finally {
    await blobs.abort(key, uploadId);
  }
};

const signedUrls: Probe = async ({ signer }, key, signal) => {
  const options = { expiresIn: 60, signedAt: new Date() };
  const bytes = randomBytes(64);
  const put = await signer.direct({ kind: 'put', key, size: bytes.length }, options);
  const stored = await fetched(put.url, { method: 'PUT', body: bytes, signal });
  const forged = await fetched(
    (await signer.get(key, options)).replace(/(X-Amz-Signature=[^&]*)[^&]/, '$1x'),
    { signal },
  );
  const { ok, body } = await fetched(await signer.get(key, options), { signal });
  // A server that does not look at the signature would let anybody in.
  return stored.ok && ok && bytes.equals(body) && !forged.ok;
};

const signedForms: Probe = async ({ signer, sizeOf }, key, signal) => {
  const options = { expiresIn: 60, signedAt: new Date() };
  const { url, fields = {} } = await signer.direct({ kind: 'post', key, minBytes: 1, maxBytes: 64 }, options);
  const send = async (size: number): Promise<boolean> => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append('file', new Blob([randomBytes(size)]));
    return (await fetched(url, { method: 'POST', body: form, signal })).ok;
  };
  // The limit must hold, else a form is a licence to fill the bucket.
  if (await send(65)) return false;
  return (await send(64)) && (await sizeOf(key)) === 64;
};

const probes: Readonly<Record<keyof StoreCapabilities, Probe>> = {
  conditionalPut,
  multipart,
  sealedMultipart,
  signedUrls,
  signedForms,
};

/** An answer to a request that any HTTP client could make; throws when it says nothing about the ability. */
async function fetched(
  url: string,
  init: RequestInit,
): Promise<{ readonly ok: boolean; readonly body: Buffer }> {
  let response: Response;
  let body: Buffer;
  try {
    response = await fetch(url, { ...init, redirect: 'manual' });
    body = Buffer.from(await response.arrayBuffer());
  } catch (error) {
    throw new StoreUnavailable('the object store does not answer a signed request', '', { cause: error });
  }
  if (!response.ok && !isRefusalStatus(response.status)) {
    throw new StoreUnavailable(`the object store answers a signed request with ${response.status}`, '');
  }
  return { ok: response.ok, body };
}
