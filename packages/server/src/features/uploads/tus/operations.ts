import type { IncomingMessage } from 'node:http';

import { readBody } from '../../../foundation/http/body-source.js';
import { newId } from '../../../foundation/ids.js';
import { stagingKey } from '../../../foundation/blobs/keys.js';
import { Problem, type ProblemCode } from '../../../foundation/problems.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import type { Caller } from '../../access/caller.js';
import { UploadLost } from '../../files/intake-queries.js';
import { checkMetadata } from '../../files/metadata.js';
import { cleanFilename } from '../../files/names.js';
import {
  findUpload,
  forgetMultipart,
  openUpload,
  resizeUpload,
  type UploadRow,
} from '../../files/upload-queries.js';
import type { Quota } from '../../files/usage-queries.js';
import { findUploadRules } from '../../keys/upload-rules-queries.js';
import { findProject, inTransaction, type Project } from '../../projects/queries.js';
import type { IntakeOptions } from '../intake.js';
import { creatorOf } from '../creator.js';
import { policyOf, type Policy } from '../policy.js';
import { problemOf } from '../upload-problems.js';
import { append, type Appended } from './append.js';
import { finishUpload, giveUp } from './finish.js';
import { finishUploadJob } from './finish-job.js';
import {
  checkOffsetType,
  checkVersion,
  readChecksum,
  readCreation,
  readLength,
  readOffset,
} from './protocol.js';
import { keepUploadMetadata, writeProgress } from './queries.js';
import type { RunningHashes } from './running-hashes.js';
import { UploadWanted, type HeldUpload, type UploadLocks } from './upload-lock.js';

export interface TusOptions extends Omit<IntakeOptions, 'active' | 'uploadStaleSeconds'> {
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
  /** Seconds without a byte after which an unfinished upload is given up. */
  readonly expirySeconds: number;
  readonly locks: UploadLocks;
  readonly hashes: RunningHashes;
}

/** What an operation answers. */
export interface TusAnswer {
  readonly status: 200 | 201 | 204;
  readonly headers: Readonly<Record<string, string>>;
}

/** Up to this many bytes are read through again within the request; more are left to a job. */
const inlineReadBytes = 64 * 1024 * 1024;
/** A request that dies between its last byte and the file is made good for after so many seconds. */
const rescueSeconds = 30;
/** Refusals after which an upload has no future. */
const final: ReadonlySet<ProblemCode> = new Set(['type-not-allowed', 'too-many-pixels', 'digest-mismatch']);

/** `POST`: begins an upload, and takes its first bytes when the request carries them. */
export async function createUpload(
  options: TusOptions,
  request: IncomingMessage,
  projectId: string,
  caller: Caller,
): Promise<TusAnswer> {
  const { headers } = request;
  checkVersion(headers);
  const { size, metadata } = readCreation(headers);
  const carriesBytes = headers['content-type'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  if (carriesBytes) checkOffsetType(headers);
  const createdBy = creatorOf(caller);
  const { project, policy, quota } = await rulesOf(options, projectId, createdBy.keyId);
  policy.checkSize(size ?? 0);
  checkMetadata(metadata.others);

  const id = newId();
  const step = Math.min(reserveStepOf(options), policy.maxBytes);
  await inTransaction(options.db, async (tx) => {
    await openUpload(
      tx,
      {
        id,
        projectId: project.id,
        protocol: 'tus',
        filename: cleanFilename(metadata.filename ?? 'file'),
        declaredType: metadata.declaredType?.replace(/\p{Cc}/gu, '').slice(0, 255) ?? null,
        size,
        sha256: metadata.sha256 ?? null,
        metadata: metadata.others,
        stagingKey: stagingKey(id),
        fileId: newId(),
        createdBy,
        need: size ?? 0,
        want: size ?? step,
      },
      quota,
    );
    await keepUploadMetadata(tx, id, metadata.text);
  });
  const location = `${options.publicUrl}/projects/${project.id}/tus/${id}`;
  const first = carriesBytes || size === 0 ? await receive(options, request, projectId, id, 0) : undefined;
  return {
    status: 201,
    headers: { location, ...(first?.headers ?? { 'upload-expires': expiryOf(options, new Date()) }) },
  };
}

/** `PATCH`: appends bytes. */
export async function appendToUpload(
  options: TusOptions,
  request: IncomingMessage,
  projectId: string,
  uploadId: string,
): Promise<TusAnswer> {
  checkVersion(request.headers);
  checkOffsetType(request.headers);
  return receive(options, request, projectId, uploadId, readOffset(request.headers));
}

/** `HEAD`: where the upload goes on. */
export async function describeUpload(
  options: TusOptions,
  request: IncomingMessage,
  projectId: string,
  uploadId: string,
): Promise<TusAnswer> {
  checkVersion(request.headers);
  const seen = await findTus(options, projectId, uploadId);
  // Bytes of a broken connection may still be on their way: whoever feeds the upload puts them away first.
  const row = seen.lock_holder === null ? seen : await (await take(options, projectId, uploadId)).settled();
  if (row.status === 'failed') throw gone(row);
  const size = row.size;
  return {
    status: 200,
    headers: {
      'upload-offset': String(row.received_bytes),
      ...(size === null ? { 'upload-defer-length': '1' } : { 'upload-length': String(size) }),
      ...(row.upload_metadata === null ? {} : { 'upload-metadata': row.upload_metadata }),
      ...(row.status === 'open' ? { 'upload-expires': expiryOf(options, row.active_at) } : {}),
      ...(row.status === 'completed' ? { 'x-file-id': row.file_id } : {}),
      'cache-control': 'no-store',
    },
  };
}

/** `DELETE`: gives an unfinished upload up, at the wish of its client. */
export async function terminateUpload(
  options: TusOptions,
  request: IncomingMessage,
  projectId: string,
  uploadId: string,
): Promise<TusAnswer> {
  checkVersion(request.headers);
  const held = await take(options, projectId, uploadId);
  try {
    const { row } = held;
    if (row.status === 'failed') throw gone(row);
    if (row.status !== 'open') {
      throw new Problem('conflict', { detail: 'The upload is complete. Delete its file instead.' });
    }
    await end(options, row, new Problem('upload-gone', { detail: 'The client terminated the upload.' }));
    return { status: 204, headers: {} };
  } finally {
    await held.release();
  }
}

async function receive(
  options: TusOptions,
  request: IncomingMessage,
  projectId: string,
  uploadId: string,
  offset: number,
): Promise<TusAnswer> {
  const { headers } = request;
  const checksum = readChecksum(headers);
  const length = readLength(headers);
  const held = await take(options, projectId, uploadId);
  const { row } = held;
  let size = row.size;
  try {
    const { policy, quota } = await rulesOf(options, projectId, row.created_by_key);
    if (row.status === 'failed') throw gone(row);
    if (offset !== row.received_bytes) throw elsewhere(row);
    // Whoever missed the answer to the last byte may ask for it again.
    if (row.status !== 'open') return await answer(options, row);
    size = await lengthOf(options, held, length, policy, quota);
    const announced = Number(headers['content-length'] ?? 0);
    if (size !== null && offset + announced > size) {
      throw new Problem('file-too-large', {
        detail: 'More bytes were announced than Upload-Length says.',
        limit: size,
        actual: offset + announced,
      });
    }
    const appended = await appendBody(options, request, held, size, { policy, quota, checksum });
    if (appended.received === size) {
      await finishNow(options, row, appended.sha256, size);
      return await answer(options, row);
    }
    if (appended.cut !== undefined) throw appended.cut;
    return await answer(options, row);
  } catch (error) {
    const problem = told(error);
    const isFinal =
      problem instanceof Problem &&
      (final.has(problem.code) || (problem.code === 'file-too-large' && size === null));
    if (isFinal) await end(options, row, problem);
    throw problem;
  } finally {
    await held.release();
  }
}

async function appendBody(
  { db, blobs, limits, hashes, ...options }: TusOptions,
  request: IncomingMessage,
  held: HeldUpload,
  size: number | null,
  rules: Pick<Parameters<typeof append>[0], 'policy' | 'quota'> & {
    checksum: ReturnType<typeof readChecksum>;
  },
): Promise<Appended> {
  const { row } = held;
  const source = readBody(request, limits, held.signal);
  try {
    return await append(
      {
        db,
        blobs,
        hashes,
        policy: rules.policy,
        quota: rules.quota,
        reserveStepBytes: reserveStepOf({ ...options, limits }),
        headProbeBytes: limits.headProbeBytes ?? 1024 * 1024,
        completing: async (tx, hashed) => {
          const now = hashed || (size ?? 0) <= inlineReadBytes;
          await enqueue(
            tx,
            finishUploadJob,
            { uploadId: row.id },
            { projectId: row.project_id, dedupeKey: row.id, ...(now ? { afterSeconds: rescueSeconds } : {}) },
          );
        },
      },
      held,
      size,
      source,
      rules.checksum,
    );
  } finally {
    source.release();
  }
}

/** Finishes within the request what does not take long; a failure that may pass is left to the job. */
async function finishNow(
  options: TusOptions,
  row: UploadRow,
  sha256: Buffer | undefined,
  size: number,
): Promise<void> {
  if (sha256 === undefined && size > inlineReadBytes) return;
  try {
    await finishUpload(options, row, sha256);
  } catch (error) {
    if (error instanceof Problem) throw error;
    options.log.warn({ err: error, uploadId: row.id }, 'an upload is left to its job to be finished');
  }
}

/** The length of the whole upload; a deferred one that the request tells is kept and reserved. */
async function lengthOf(
  { db }: TusOptions,
  { row, holder }: HeldUpload,
  length: number | undefined,
  policy: Policy,
  quota: Quota,
): Promise<number | null> {
  if (length === undefined || length === row.size) return row.size;
  if (row.size !== null || length < row.received_bytes) {
    throw new Problem('invalid-request', {
      detail: 'The length of an upload is told once.',
      errors: [
        { pointer: '#/headers/upload-length', detail: 'is another than before, or less than has arrived' },
      ],
    });
  }
  policy.checkSize(length);
  await inTransaction(db, async (tx) => {
    await resizeUpload(tx, row.project_id, row.id, { need: length, want: length }, quota);
    await writeProgress(tx, row.id, holder, { size: length });
  });
  return length;
}

/** Gives an upload up and drops its parts; what the store does not do now, the timetable does later. */
async function end({ db, blobs, log }: TusOptions, row: UploadRow, problem: Problem): Promise<void> {
  await giveUp(db, row, problem);
  const upload = await findUpload(db, row.project_id, row.id);
  if (upload?.multipart_id == null || upload.status !== 'failed') return;
  try {
    await blobs.multipart.abort(upload.staging_key, upload.multipart_id);
    await forgetMultipart(db, row.id);
  } catch (error) {
    log.warn({ err: error, uploadId: row.id }, 'the parts of an upload are left to cleanup');
  }
}

async function answer(options: TusOptions, { project_id: projectId, id }: UploadRow): Promise<TusAnswer> {
  const row = await findTus(options, projectId, id);
  return {
    status: 204,
    headers: {
      'upload-offset': String(row.received_bytes),
      ...(row.status === 'open' ? { 'upload-expires': expiryOf(options, row.active_at) } : {}),
      ...(row.status === 'completed' ? { 'x-file-id': row.file_id } : {}),
    },
  };
}

async function findTus({ db }: TusOptions, projectId: string, uploadId: string): Promise<UploadRow> {
  const row = await findUpload(db, projectId, uploadId);
  if (row?.protocol !== 'tus') throw new Problem('not-found');
  return row;
}

async function take(
  { db, locks }: TusOptions,
  projectId: string,
  uploadId: string,
): Promise<HeldUpload & { settled(): Promise<UploadRow> }> {
  const held = await locks.take(projectId, uploadId);
  if (!held) throw new Problem('not-found');
  return {
    ...held,
    /** Lets go again, and tells how the holder before has left it. */
    async settled() {
      await held.release();
      return (await findUpload(db, projectId, uploadId)) ?? held.row;
    },
  };
}

async function rulesOf(
  { db, limits, imaging, defaultQuotaBytes }: TusOptions,
  projectId: string,
  keyId: string | null | undefined,
): Promise<{ readonly project: Project; readonly policy: Policy; readonly quota: Quota }> {
  const project = await findProject(db, projectId);
  if (!project) throw new Problem('not-found');
  const { settings } = project;
  return {
    project,
    policy: policyOf({
      settings,
      maxBytes: limits.maxBytes,
      imaging,
      key: await findUploadRules(db, projectId, keyId),
    }),
    quota: { bytes: settings.quota.bytes ?? defaultQuotaBytes, files: settings.quota.files },
  };
}

function reserveStepOf({ limits }: Pick<TusOptions, 'limits'>): number {
  return limits.reserveStepBytes ?? 8 * 1024 * 1024;
}

/** RFC 9110's date, as the expiration extension wants it. */
function expiryOf({ expirySeconds }: TusOptions, active: Date): string {
  return new Date(active.getTime() + expirySeconds * 1000).toUTCString();
}

function gone({ failure }: UploadRow): Problem {
  return new Problem('upload-gone', failure === null ? {} : { detail: failure });
}

function elsewhere({ received_bytes: received }: UploadRow): Problem {
  return new Problem('offset-mismatch', {
    detail: `${received} bytes have arrived.`,
    headers: { 'upload-offset': String(received) },
  });
}

function told(error: unknown): unknown {
  if (error instanceof UploadWanted || error instanceof UploadLost) {
    return new Problem('upload-locked', {
      detail: 'Another request has come for this upload.',
      retryAfter: 1,
      cause: error,
    });
  }
  return problemOf(error);
}
