import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

import {
  MultipartMissing,
  PartsRefused,
  type BlobStore,
  type PutOptions,
} from '../../../../foundation/blobs/blob-store.js';
import type { Db } from '../../../../foundation/database/connect.js';
import { readBody, type Pace } from '../../../../foundation/http/body-source.js';
import { boundaryOf, readParts } from '../../../../foundation/http/multipart.js';
import { Problem } from '../../../../foundation/problems.js';
import type { UploadRow } from '../../../files/upload-queries.js';
import { problemOf } from '../../upload-problems.js';
import { openOne, type DirectOptions } from '../operations.js';
import { nameMultipart } from '../queries.js';
import type { OwnOperation, OwnSigner } from '../signer.js';
import { begunAnswer, completedAnswer, partsAnswer, quoted, readCompletion, xmlType } from './s3-answers.js';

export interface StagingOptions extends DirectOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly own: OwnSigner;
  readonly pace: Pace;
  readonly publicUrl: string;
}

export interface StagingAnswer {
  readonly status: 200 | 204;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Most bytes of the list of parts that a completion names: 10,000 of them have 1.2 MB. */
const longestCompletion = 2 * 1024 * 1024;

/** Most bytes of a form's other fields, each. */
const longestField = 64 * 1024;

/**
 * Does what a signed address of ours allows: the same that the store would do, where the store has no addresses. The
 * signature has been verified before anything else, and names the one upload that the request is about.
 */
export async function receiveStaged(
  options: StagingOptions,
  request: IncomingMessage,
  uploadId: string,
  query: readonly (readonly [string, string])[],
): Promise<StagingAnswer> {
  const operation = options.own.verify(request.method ?? '', uploadId, query);
  const upload = await openOne(options, operation.projectId, uploadId);
  try {
    return await perform(options, request, upload, operation);
  } catch (error) {
    if (error instanceof MultipartMissing) {
      throw new Problem('not-found', { detail: 'No such upload in parts is under way.', cause: error });
    }
    if (error instanceof PartsRefused) throw new Problem('conflict', { detail: error.message, cause: error });
    throw problemOf(error);
  }
}

async function perform(
  options: StagingOptions,
  request: IncomingMessage,
  upload: UploadRow,
  operation: OwnOperation,
): Promise<StagingAnswer> {
  const { blobs, db, publicUrl } = options;
  const { staging_key: key, id } = upload;
  const xml = (body: string): StagingAnswer => ({ status: 200, headers: { 'content-type': xmlType }, body });
  const multipartId = operation.multipartId ?? '';
  switch (operation.kind) {
    case 'put':
      return withBody(options, request, operation, async (body, put) => {
        await blobs.put(key, body, put);
        return { status: 200, headers: { etag: `"${id}"` } };
      });
    case 'post':
      return receiveForm(options, request, key, operation);
    case 'put-part':
      return withBody(options, request, operation, async (body, { size, signal }) => {
        const part = await blobs.multipart.put(key, multipartId, operation.number ?? 0, body, {
          ...(size === undefined ? {} : { size }),
          ...(signal && { signal }),
        });
        return { status: 200, headers: { etag: quoted(part.etag) } };
      });
    case 'begin-multipart': {
      await skipBody(options, request);
      const begun = await blobs.multipart.begin(key);
      await nameMultipart(db, id, begun, null);
      return xml(begunAnswer(key, begun));
    }
    case 'list-parts':
      return xml(partsAnswer(key, multipartId, await blobs.multipart.parts(key, multipartId)));
    case 'complete-multipart': {
      const named = readCompletion(await readText(options, request));
      const arrived = await blobs.multipart.parts(key, multipartId);
      const parts = named.map(({ number, etag }) => {
        const found = arrived.find((part) => part.number === number);
        if (found?.etag.replaceAll('"', '') !== etag) {
          throw new Problem('conflict', { detail: `Part ${number} has not arrived, or is another.` });
        }
        return found;
      });
      await blobs.multipart.complete(key, multipartId, parts);
      return xml(completedAnswer(key, `${publicUrl}/${key}`, id));
    }
    case 'abort-multipart':
      await blobs.multipart.abort(key, multipartId);
      return { status: 204, headers: {} };
  }
}

/** Streams a body that must be exactly what was signed. */
async function withBody(
  { pace, maxBytes }: StagingOptions,
  request: IncomingMessage,
  { size, contentType, contentMd5 }: OwnOperation,
  store: (body: Readable, options: PutOptions) => Promise<StagingAnswer>,
): Promise<StagingAnswer> {
  const { headers } = request;
  if (contentType !== undefined && headers['content-type'] !== contentType) {
    throw new Problem('forbidden', { detail: 'The address was signed for another Content-Type.' });
  }
  const announced = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
  if (size !== undefined && announced !== size) {
    throw new Problem('forbidden', {
      detail: 'The address was signed for another Content-Length.',
      limit: size,
      ...(announced === undefined ? {} : { actual: announced }),
    });
  }
  const gone = new AbortController();
  const source = readBody(request, pace, gone.signal);
  const md5 = contentMd5 === undefined ? undefined : createHash('md5');
  const counted = async function* (): AsyncGenerator<Buffer> {
    let count = 0;
    for await (const chunk of source) {
      count += chunk.length;
      if (count > maxBytes) throw tooLarge(maxBytes, count);
      md5?.update(chunk);
      yield chunk;
    }
    if (md5 && md5.digest('base64') !== contentMd5) {
      throw new Problem('digest-mismatch', { detail: 'The bytes have another MD5 than Content-MD5 says.' });
    }
  };
  try {
    const body = Readable.from(counted(), { objectMode: false, highWaterMark: 1024 * 1024 });
    return await store(body, {
      ...(announced === undefined ? {} : { size: announced }),
      signal: gone.signal,
    });
  } finally {
    source.release();
  }
}

/** Takes the one file of a form. */
async function receiveForm(
  { pace, blobs }: StagingOptions,
  request: IncomingMessage,
  key: string,
  { maxBytes = 0, size }: OwnOperation,
): Promise<StagingAnswer> {
  const gone = new AbortController();
  const source = readBody(request, pace, gone.signal);
  let stored = false;
  try {
    for await (const part of readParts(source, boundaryOf(request.headers['content-type'] ?? ''))) {
      const isFile = part.filename !== undefined && !stored;
      const most = isFile ? (size ?? maxBytes) : longestField;
      const counted = async function* (): AsyncGenerator<Buffer> {
        let length = 0;
        for await (const chunk of part.body) {
          length += chunk.length;
          if (length > most) throw tooLarge(most, length);
          yield chunk;
        }
      };
      // Fields may stand on both sides of the file; all that ours say is in the address already.
      if (!isFile) {
        await count(counted());
        continue;
      }
      const body = Readable.from(counted(), { objectMode: false, highWaterMark: 1024 * 1024 });
      await blobs.put(key, body, { signal: gone.signal });
      stored = true;
    }
  } finally {
    source.release();
  }
  if (!stored) throw new Problem('no-file', { detail: 'The form has no file.' });
  return { status: 204, headers: {} };
}

/** Reads past something. */
async function count(chunks: AsyncGenerator<Buffer>): Promise<number> {
  let length = 0;
  for await (const chunk of chunks) length += chunk.length;
  return length;
}

async function readText({ pace }: StagingOptions, request: IncomingMessage): Promise<string> {
  const source = readBody(request, pace, new AbortController().signal);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of source) {
      length += chunk.length;
      if (length > longestCompletion) throw tooLarge(longestCompletion, length);
      chunks.push(chunk);
    }
  } finally {
    source.release();
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A body that means nothing: some clients send one with the beginning of a multipart upload. */
async function skipBody(options: StagingOptions, request: IncomingMessage): Promise<void> {
  await readText(options, request);
}

function tooLarge(limit: number, actual: number): Problem {
  return new Problem('body-too-large', { detail: `At most ${limit} bytes are taken here.`, limit, actual });
}
