import type { DirectOperation, Part, SignedRequest } from '../../../foundation/blobs/blob-store.js';
import { MultipartMissing, PartsRefused, Unsupported } from '../../../foundation/blobs/blob-store.js';
import { stagingKey } from '../../../foundation/blobs/keys.js';
import { newId } from '../../../foundation/ids.js';
import { Problem } from '../../../foundation/problems.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import type { Log } from '../../../foundation/log.js';
import type { Caller } from '../../access/caller.js';
import { checkMetadata } from '../../files/metadata.js';
import { cleanFilename } from '../../files/names.js';
import type { FileRow } from '../../files/queries.js';
import { findUpload, forgetMultipart, openUpload, type UploadRow } from '../../files/upload-queries.js';
import { findProject, inTransaction } from '../../projects/queries.js';
import { findUploadRules } from '../../keys/upload-rules-queries.js';
import { creatorOf } from '../creator.js';
import { partBytesFor } from '../part-size.js';
import { policyOf } from '../policy.js';
import { problemOf } from '../upload-problems.js';
import { beginCompletion, nameMultipart, noteAddress } from './queries.js';
import type { UploadSigner } from './signer.js';
import { giveUp, verifyUpload, type VerifyOptions } from './verify.js';
import { verifyUploadJob } from './verify-job.js';

export interface DirectOptions extends VerifyOptions {
  readonly signer: UploadSigner;
  /** Seconds that a signed address works. */
  readonly addressSeconds: number;
  readonly log: Log;
}

/** What a client says of the file it is going to send. */
export interface Declaration {
  readonly filename: string;
  /** Bytes; null when it does not know. */
  readonly size: number | null;
  readonly type: string | undefined;
  readonly sha256: Buffer | undefined;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export const ways = ['put', 'post', 'multipart'] as const;
export type Way = (typeof ways)[number];

/** How the bytes of an upload are sent. */
export interface Directions {
  readonly expiresAt: Date;
  readonly put?: SignedRequest;
  readonly post?: SignedRequest;
  readonly multipart?: { readonly partBytes: number; readonly partCount: number };
}

/** Larger files are sent in parts unless the client says otherwise: what breaks is then sent again, not all. */
const largestWhole = 64 * 1024 * 1024;
/** Larger uploads are verified by a job: the request would take too long. */
const inlineBytes = 64 * 1024 * 1024;
/** Seconds after which a job makes good for a request that died while it verified. */
const rescueSeconds = 60;
const busySeconds = 2;

/** Begins an upload; its room is reserved before any address exists. */
export async function beginUpload(
  options: DirectOptions,
  projectId: string,
  caller: Caller,
  declared: Declaration,
): Promise<UploadRow> {
  const { db, defaultQuotaBytes } = options;
  const project = await findProject(db, projectId);
  if (!project) throw new Problem('not-found');
  const { settings } = project;
  const createdBy = creatorOf(caller);
  const key = await findUploadRules(db, projectId, createdBy.keyId);
  const policy = policyOf({ settings, maxBytes: options.maxBytes, imaging: options.imaging, key });
  policy.checkSize(declared.size ?? 0);
  checkMetadata(declared.metadata);
  const id = newId();
  return inTransaction(db, (tx) =>
    openUpload(
      tx,
      {
        id,
        projectId,
        protocol: 'direct',
        filename: cleanFilename(declared.filename),
        declaredType: declared.type?.replace(/\p{Cc}/gu, '').slice(0, 255) ?? null,
        size: declared.size,
        sha256: declared.sha256 ?? null,
        metadata: declared.metadata,
        stagingKey: stagingKey(id),
        fileId: newId(),
        createdBy,
        need: declared.size ?? 0,
        // What an upload of unknown size really needs is settled when it is complete.
        want: declared.size ?? Math.min(partBytesFor(null), policy.maxBytes),
      },
      { bytes: settings.quota.bytes ?? defaultQuotaBytes, files: settings.quota.files },
    ),
  );
}

/** How the bytes are to be sent: as the client wishes, or by their number. */
export async function direct(
  options: DirectOptions,
  upload: UploadRow,
  way: Way | undefined,
): Promise<Directions> {
  const { blobs } = options;
  const { staging_key: key, size } = upload;
  if (size === null) throw new TypeError('directions are for uploads of a known size');
  const expiresAt = expiryOf(options);
  const type = upload.declared_type === null ? {} : { contentType: upload.declared_type };
  switch (way ?? (size <= largestWhole ? 'put' : 'multipart')) {
    case 'put':
      return { expiresAt, put: await sign(options, upload, { kind: 'put', key, size, ...type }) };
    case 'post': {
      const form = { kind: 'post', key, minBytes: size, maxBytes: size, ...type } as const;
      return { expiresAt, post: await sign(options, upload, form) };
    }
    case 'multipart': {
      const partBytes = partBytesFor(size);
      const multipartId = await blobs.multipart.begin(key, type);
      await nameMultipart(options.db, upload.id, multipartId, partBytes);
      return { expiresAt, multipart: { partBytes, partCount: Math.max(1, Math.ceil(size / partBytes)) } };
    }
  }
}

/** Addresses for some parts, counted from 1. */
export async function signParts(
  options: DirectOptions,
  projectId: string,
  uploadId: string,
  numbers: readonly number[],
): Promise<readonly (SignedRequest & { readonly number: number })[]> {
  const upload = await openOne(options, projectId, uploadId);
  const { multipart_id: multipartId, part_bytes: partBytes, size, staging_key: key } = upload;
  if (multipartId === null || partBytes === null || size === null) {
    throw new Problem('conflict', { detail: 'This upload is not sent in parts.' });
  }
  const count = Math.max(1, Math.ceil(size / partBytes));
  return Promise.all(
    numbers.map(async (number) => {
      if (number > count) {
        throw new Problem('invalid-request', {
          detail: `The upload has ${count} parts.`,
          errors: [{ pointer: '/numbers', detail: `goes up to ${count}` }],
        });
      }
      const bytes = number === count ? size - (count - 1) * partBytes : partBytes;
      const part = { kind: 'put-part', key, uploadId: multipartId, number, size: bytes } as const;
      return { number, ...(await sign(options, upload, part)) };
    }),
  );
}

/** The parts that have arrived. */
export async function listParts(
  options: DirectOptions,
  projectId: string,
  uploadId: string,
): Promise<readonly Part[]> {
  const { staging_key: key, multipart_id: multipartId } = await openOne(options, projectId, uploadId);
  if (multipartId === null) return [];
  try {
    return await options.blobs.multipart.parts(key, multipartId);
  } catch (error) {
    // The client has completed it in the store already.
    if (error instanceof MultipartMissing) return [];
    throw problemOf(error);
  }
}

export interface Completed {
  readonly upload: UploadRow;
  /** Undefined while a job is at work. */
  readonly file: FileRow | undefined;
}

/**
 * Makes the file of what has arrived; repeated, it gives the same file. Above 64 MiB a job does it.
 * @throws Problem `conflict` when not everything has arrived, with the upload still open; a refusal ends it.
 */
export async function completeUploadOf(
  options: DirectOptions,
  projectId: string,
  uploadId: string,
  named: readonly { readonly number: number; readonly etag: string }[] | undefined,
): Promise<Completed> {
  const { db } = options;
  const upload = await findDirect(options, projectId, uploadId);
  if (upload.status === 'failed') throw gone(upload);
  if (upload.status !== 'open') return { upload, file: undefined };
  const size = await assemble(options, upload, named);
  const inline = size <= inlineBytes;
  const begun = await inTransaction(db, async (tx) => {
    if (!(await beginCompletion(tx, uploadId))) return false;
    await enqueue(
      tx,
      verifyUploadJob,
      { uploadId },
      { projectId, dedupeKey: uploadId, ...(inline ? { afterSeconds: rescueSeconds } : {}) },
    );
    return true;
  });
  if (!begun) {
    throw new Problem('conflict', {
      detail: 'Another request completes the upload.',
      retryAfter: busySeconds,
    });
  }
  if (!inline) return { upload: await findDirect(options, projectId, uploadId), file: undefined };
  try {
    const file = await verifyUpload(options, upload, AbortSignal.timeout(rescueSeconds * 1000));
    return { upload: await findDirect(options, projectId, uploadId), file };
  } catch (error) {
    await dropParts(options, projectId, uploadId);
    const problem = problemOf(error);
    // Not refused: the job will try again, and the client sees how far it is.
    if (problem instanceof Problem && problem.status < 500) throw problem;
    options.log.warn({ err: error, uploadId }, 'an upload is left to its job to be verified');
    return { upload: await findDirect(options, projectId, uploadId), file: undefined };
  }
}

/** Gives an unfinished upload up, at the wish of its client. */
export async function abortUpload(
  options: DirectOptions,
  projectId: string,
  uploadId: string,
): Promise<void> {
  const upload = await findDirect(options, projectId, uploadId);
  if (upload.status === 'failed') return;
  if (upload.status !== 'open') {
    throw new Problem('conflict', { detail: 'The upload is complete. Delete its file instead.' });
  }
  await giveUp(options.db, upload, new Problem('upload-gone', { detail: 'The client aborted the upload.' }));
  await dropParts(options, projectId, uploadId);
}

/** Signs an operation of an open upload, and remembers how long that works. */
export async function sign(
  options: DirectOptions,
  upload: UploadRow,
  operation: DirectOperation,
): Promise<SignedRequest> {
  const { db, signer, addressSeconds } = options;
  const multipartId = 'uploadId' in operation ? operation.uploadId : undefined;
  // Before the address exists: nothing of it may outlive what the row says.
  if (!(await noteAddress(db, upload.id, addressSeconds, multipartId))) {
    throw new Problem('conflict', {
      detail: 'The upload is not open, or is sent in parts under another id.',
    });
  }
  try {
    return await signer.sign(upload, operation, addressSeconds);
  } catch (error) {
    if (!(error instanceof Unsupported)) throw problemOf(error);
    throw new Problem('invalid-request', {
      detail: 'This store takes no forms. Send the file with put or multipart.',
      errors: [{ pointer: '/via', detail: 'is put or multipart here' }],
      cause: error,
    });
  }
}

export function expiryOf({ addressSeconds }: DirectOptions): Date {
  return new Date(Date.now() + addressSeconds * 1000);
}

export async function findDirect(
  { db }: Pick<DirectOptions, 'db'>,
  projectId: string,
  uploadId: string,
): Promise<UploadRow> {
  const upload = await findUpload(db, projectId, uploadId);
  if (upload?.protocol !== 'direct') throw new Problem('not-found');
  return upload;
}

/** @throws Problem `upload-gone`, `conflict` when no more bytes are taken. */
export async function openOne(
  options: DirectOptions,
  projectId: string,
  uploadId: string,
): Promise<UploadRow> {
  const upload = await findDirect(options, projectId, uploadId);
  if (upload.status === 'failed') throw gone(upload);
  if (upload.status === 'open') return upload;
  throw new Problem('conflict', { detail: 'The upload is complete.' });
}

export function gone({ failure }: UploadRow): Problem {
  return new Problem('upload-gone', failure === null ? {} : { detail: failure });
}

/**
 * Sees to it that the whole file lies under the staging key.
 * @returns its bytes.
 */
async function assemble(
  options: DirectOptions,
  upload: UploadRow,
  named: readonly { readonly number: number; readonly etag: string }[] | undefined,
): Promise<number> {
  const { blobs } = options;
  const { staging_key: key, multipart_id: multipartId } = upload;
  try {
    // A client may have completed the parts in the store itself; then there are none to be found.
    if (multipartId !== null) await joinParts(options, upload, multipartId, named);
    const stat = await blobs.stat(key);
    if (!stat) throw new Problem('conflict', { detail: 'Nothing has arrived in the store yet.' });
    if (upload.size !== null && stat.size !== upload.size) {
      throw new Problem('conflict', {
        detail: `${stat.size} bytes have arrived; ${upload.size} were declared.`,
        limit: upload.size,
        actual: stat.size,
      });
    }
    return stat.size;
  } catch (error) {
    if (!(error instanceof PartsRefused)) throw problemOf(error);
    throw new Problem('conflict', {
      detail: `The parts do not make a file: ${error.message}.`,
      cause: error,
    });
  }
}

async function joinParts(
  { blobs }: DirectOptions,
  { staging_key: key, size, part_bytes: partBytes }: UploadRow,
  multipartId: string,
  named: readonly { readonly number: number; readonly etag: string }[] | undefined,
): Promise<void> {
  let arrived: readonly Part[];
  try {
    arrived = await blobs.multipart.parts(key, multipartId);
  } catch (error) {
    if (error instanceof MultipartMissing) return;
    throw error;
  }
  const parts =
    named === undefined ? arrived : arrived.filter((part) => named.some((one) => one.number === part.number));
  const bare = (etag: string) => etag.replaceAll('"', '');
  const strange = named?.find(
    ({ number, etag }) => !parts.some((part) => part.number === number && bare(part.etag) === bare(etag)),
  );
  if (strange) {
    throw new Problem('conflict', { detail: `Part ${strange.number} has not arrived, or is another.` });
  }
  const count = size === null || partBytes === null ? parts.length : Math.max(1, Math.ceil(size / partBytes));
  if (parts.length === 0 || parts.length !== count) {
    throw new Problem('conflict', {
      detail: `${parts.length} of ${Math.max(1, count)} parts have arrived.`,
      limit: Math.max(1, count),
      actual: parts.length,
    });
  }
  await blobs.multipart.complete(key, multipartId, parts);
}

/** Drops the parts of an upload that was given up; what the store does not do now, the timetable does later. */
async function dropParts(
  { db, blobs, log }: DirectOptions,
  projectId: string,
  uploadId: string,
): Promise<void> {
  const upload = await findUpload(db, projectId, uploadId);
  if (upload?.multipart_id == null || upload.status !== 'failed') return;
  try {
    await blobs.multipart.abort(upload.staging_key, upload.multipart_id);
    await forgetMultipart(db, uploadId);
  } catch (error) {
    log.warn({ err: error, uploadId }, 'the parts of an upload are left to cleanup');
  }
}
