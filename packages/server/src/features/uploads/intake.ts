import type { IncomingMessage } from 'node:http';

import {
  BlobLengthMismatch,
  StoreFull,
  StoreUnavailable,
  type BlobStore,
} from '../../foundation/blobs/blob-store.js';
import type { Db, Tx } from '../../foundation/database/connect.js';
import { readBody, type Pace } from '../../foundation/http/body-source.js';
import { boundaryOf, framingAfter, readParts, type Part } from '../../foundation/http/multipart.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import type { Log } from '../../foundation/log.js';
import { Problem } from '../../foundation/problems.js';
import type { Caller } from '../access/caller.js';
import { abandonFiles, acknowledgedOf, settleFiles, UploadLost } from '../files/intake-queries.js';
import type { FileRow } from '../files/queries.js';
import { findProject, inTransaction, type Project } from '../projects/queries.js';
import type { ProjectSettings } from '../projects/settings.js';
import type { ActiveUpload, ActiveUploads } from './active.js';
import { policyOf } from './policy.js';
import { receiveFile, type ReceivedFile, type Reception } from './receive.js';

/** Plans what is made of a file, in the transaction that acknowledges it; returns the file's status. */
export type PlanVariants = (
  tx: Tx,
  file: FileRow,
  settings: ProjectSettings,
) => Promise<'processing' | 'ready'>;

export interface UploadLimits extends Pace {
  /** Largest file in bytes; a project can only lower it. */
  readonly maxBytes: number;
  /** Most files of one request. */
  readonly maxFiles: number;
  /** Most bytes of a picture held in memory to find its header; 1 MiB when absent. */
  readonly headProbeBytes?: number;
  /** Bytes by which the reservation of a file of unknown size grows; 8 MiB when absent. */
  readonly reserveStepBytes?: number;
}

export interface IntakeOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly imaging: Pick<Imaging, 'probe'>;
  readonly planVariants: PlanVariants;
  readonly limits: UploadLimits;
  /** Quota of projects that set none, in bytes; null is no limit. */
  readonly defaultQuotaBytes: number | null;
  readonly active: ActiveUploads;
  readonly log: Log;
}

/** Fields beside the files are read and ignored (forms and Uppy send some), within these bounds. */
const maxFields = 100;
const maxFieldBytes = 64 * 1024;
/**
 * Seconds after which the key of an interrupted put is deleted once more: a bucket that already has the last byte
 * may store it that much later. Twice the longest time that a store call without progress is allowed to take.
 */
const lateWriteSeconds = 15 * 60;

/**
 * Takes all files of a multipart request, or none of them.
 * @returns the acknowledged files, in the order of their parts; at least one.
 */
export async function takeMultipart(
  options: IntakeOptions,
  request: IncomingMessage,
  target: { readonly projectId: string; readonly caller: Caller },
): Promise<readonly FileRow[]> {
  const { db, limits } = options;
  const boundary = boundaryOf(request.headers['content-type'] ?? '');
  const project = await findProject(db, target.projectId);
  if (!project) throw new Problem('not-found');
  const upload = options.active.begin();
  const source = readBody(request, limits, upload.signal);
  try {
    const reception = receptionOf(options, project, target.caller, upload);
    const received = await receiveParts(reception, readParts(source, boundary), limits, (part) =>
      expectedBytes(request, part, boundary),
    );
    if (received.length === 0)
      throw new Problem('no-file', { detail: 'No part of the body has a file name.' });
    upload.beating.clear();
    return await acknowledge(options, project, received);
  } catch (error) {
    // Wakes whatever still waits for the client.
    upload.abort(error);
    await abandon(options, project.id, upload);
    throw problemOf(error);
  } finally {
    source.release();
    upload.end();
  }
}

function receptionOf(
  { db, blobs, imaging, limits, defaultQuotaBytes }: IntakeOptions,
  { id, settings }: Project,
  caller: Caller,
  upload: ActiveUpload,
): Reception {
  return {
    db,
    blobs,
    policy: policyOf({ settings, maxBytes: limits.maxBytes, imaging }),
    projectId: id,
    quota: { bytes: settings.quota.bytes ?? defaultQuotaBytes, files: settings.quota.files },
    createdBy:
      caller.kind === 'user'
        ? { userId: caller.userId }
        : caller.kind === 'key'
          ? { keyId: caller.keyId }
          : {},
    upload,
    reserveStepBytes: limits.reserveStepBytes ?? 8 * 1024 * 1024,
    headProbeBytes: limits.headProbeBytes ?? 1024 * 1024,
  };
}

async function receiveParts(
  reception: Reception,
  parts: AsyncGenerator<Part, void, undefined>,
  { maxFiles }: UploadLimits,
  expected: (part: Part) => number | undefined,
): Promise<readonly ReceivedFile[]> {
  const received: ReceivedFile[] = [];
  let fields = 0;
  for await (const part of parts) {
    try {
      if (part.filename === undefined) {
        if (++fields > maxFields) {
          throw new Problem('invalid-request', { detail: `A form may have ${maxFields} fields.` });
        }
        await ignoreField(part);
        continue;
      }
      if (received.length === maxFiles) {
        throw new Problem('too-many-files', {
          detail: `A request may carry ${maxFiles} files.`,
          limit: maxFiles,
        });
      }
      const body = part.filename === '' ? await unlessEmpty(part.body) : part.body;
      // A browser sends an empty, nameless file for a file field that nobody has filled.
      if (body === undefined) continue;
      received.push(
        await receiveFile(reception, {
          filename: part.filename,
          declaredType: part.contentType,
          body,
          expectedBytes: expected(part),
        }),
      );
    } catch (error) {
      throw naming(problemOf(error), part.index);
    }
  }
  return received;
}

async function ignoreField(part: Part): Promise<void> {
  let length = 0;
  for await (const chunk of part.body) {
    length += chunk.length;
    if (length > maxFieldBytes) {
      throw new Problem('body-too-large', {
        detail: `A form field may have ${maxFieldBytes} bytes.`,
        limit: maxFieldBytes,
      });
    }
  }
}

/** The body again, or undefined when it has no bytes. */
async function unlessEmpty(
  body: AsyncGenerator<Buffer, void, undefined>,
): Promise<AsyncGenerator<Buffer, void, undefined> | undefined> {
  const first = await body.next();
  if (first.done === true) return undefined;
  return (async function* () {
    yield first.value;
    yield* body;
  })();
}

/**
 * Bytes that a part's content has if nothing follows but the closing boundary: exact for the last part, too many
 * for the others, which give back what they did not need. Undefined without Content-Length.
 */
function expectedBytes(request: IncomingMessage, part: Part, boundary: string): number | undefined {
  const length = request.headers['content-length'];
  if (length === undefined) return undefined;
  return Math.max(0, Number(length) - part.offset - framingAfter(boundary));
}

/** Transaction 2: every file is acknowledged and what is made of it planned, or nothing is. */
async function acknowledge(
  { db, planVariants }: IntakeOptions,
  { id: projectId, settings }: Project,
  received: readonly ReceivedFile[],
): Promise<readonly FileRow[]> {
  try {
    return await inTransaction(db, async (tx) => {
      const settled = [];
      for (const { row, size, sha256, facts } of received) {
        const found = { size, sha256, width: facts?.width ?? null, height: facts?.height ?? null };
        const status = await planVariants(tx, { ...row, ...found }, settings);
        settled.push({ id: row.id, status, ...found });
      }
      return settleFiles(tx, projectId, settled);
    });
  } catch (error) {
    if (error instanceof UploadLost || error instanceof Problem) throw error;
    // The connection may have been lost between COMMIT and its answer: then the files stand, and are told so.
    const ids = received.map(({ row }) => row.id);
    const committed = await acknowledgedOf(db, projectId, ids).catch(() => []);
    if (committed.length !== ids.length) throw error;
    return committed;
  }
}

/** Gives up what a failed upload has opened. What the database does not take now, cleanup does later. */
async function abandon({ db, log }: IntakeOptions, projectId: string, upload: ActiveUpload): Promise<void> {
  if (upload.opened.size === 0) return;
  const late = upload.writing.size > 0 ? lateWriteSeconds : undefined;
  try {
    await inTransaction(db, (tx) => abandonFiles(tx, projectId, [...upload.opened], 'upload failed', late));
  } catch (error) {
    log.warn({ err: error, projectId }, 'a failed upload is left to cleanup');
  }
}

/** The problem that a failure is to the client; what is none is left to the application. */
function problemOf(error: unknown): unknown {
  if (error instanceof StoreFull) return new Problem('storage-full', { cause: error });
  if (error instanceof StoreUnavailable || error instanceof BlobLengthMismatch) {
    return new Problem('service-unavailable', {
      detail: 'The store did not take the bytes.',
      retryAfter: 5,
      cause: error,
    });
  }
  if (error instanceof UploadLost) {
    return new Problem('service-unavailable', {
      detail: 'The upload was taken for dead while it was under way.',
      retryAfter: 1,
      cause: error,
    });
  }
  return error;
}

/** Says which part of the body the problem is about. */
function naming(error: unknown, index: number): unknown {
  if (!(error instanceof Problem)) return error;
  return new Problem(error.code, {
    ...error.members,
    errors: error.members.errors ?? [{ pointer: `#/parts/${index}`, detail: error.message }],
    cause: error.members.cause ?? error,
  });
}
