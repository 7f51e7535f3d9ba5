import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';

import { isConnectionError } from '../../foundation/database/errors.js';
import { readBody, type BodySource, type Pace } from '../../foundation/http/body-source.js';
import { parseContentDigest } from '../../foundation/http/content-digest.js';
import { boundaryOf, readParts } from '../../foundation/http/multipart.js';
import { Problem } from '../../foundation/problems.js';
import type { Caller } from '../access/caller.js';
import { UploadLost } from '../files/intake-queries.js';
import type { FileRow } from '../files/queries.js';
import { completeKey, type HeldKey } from '../files/upload-key-queries.js';
import { findProject, inTransaction, type Project } from '../projects/queries.js';
import type { ActiveUploads } from './active.js';
import { creatorOf } from './creator.js';
import { checkDigest, hashing } from './digests.js';
import { abandon, receptionOf, settleReceived, type EntryLimits, type EntryOptions } from './entry.js';
import { broughtBy, hashFile, hold, replay, type Passed } from './idempotency.js';
import { standAfterAll } from './fate.js';
import { expectedBytes, receiveParts, unlessEmpty } from './parts.js';
import type { Policy } from './policy.js';
import { receiveFile, type IncomingFile, type ReceivedFile } from './receive.js';
import { problemOf } from './upload-problems.js';

export interface UploadLimits extends EntryLimits, Pace {
  /** Most files of one request. */
  readonly maxFiles: number;
}

export interface IntakeOptions extends EntryOptions {
  readonly limits: UploadLimits;
  readonly active: ActiveUploads;
  /** Seconds of silence after which an upload under way counts as dead, and its idempotency key as free. */
  readonly uploadStaleSeconds: number;
  /** Seconds for which a completed idempotency key is remembered. */
  readonly uploadKeysSeconds: number;
}

/** One request that brings files, after the guard. */
export interface Arrival {
  readonly request: IncomingMessage;
  readonly projectId: string;
  readonly caller: Caller;
  /** SHA-256 that the only file must have. */
  readonly sha256: Buffer | undefined;
  /** Under which a retry finds what this request has brought. */
  readonly idempotencyKey: string | undefined;
}

/** What a request has brought, now or, `replayed`, when it came first. */
export interface Taken {
  /** In the order of the request; at least one. */
  readonly files: readonly FileRow[];
  readonly replayed: boolean;
}

/**
 * Takes all files of a multipart request, or none of them. Content-Digest is not looked at: it speaks of the form
 * as it is sent (RFC 9530 §2), boundaries included, which no client that builds a form knows beforehand.
 */
export async function takeMultipart(options: IntakeOptions, arrival: Arrival): Promise<Taken> {
  const { request } = arrival;
  const boundary = boundaryOf(request.headers['content-type'] ?? '');
  return take(options, arrival, async (source, _policy, receive) => {
    const received = await receiveParts(receive, readParts(source, boundary), options.limits, (part) =>
      expectedBytes(request, part, boundary),
    );
    if (arrival.sha256 !== undefined && received.length > 1) {
      throw new Problem('invalid-request', {
        detail: `The form has ${received.length} files.`,
        errors: [{ pointer: '#/query/sha256', detail: 'speaks of one file' }],
      });
    }
    return received;
  });
}

/**
 * Takes a request whose whole body is one file, of any type.
 * @param name what the client calls it, as it came; undefined when it gave none.
 */
export async function takeRaw(
  options: IntakeOptions,
  arrival: Arrival,
  name: string | undefined,
): Promise<Taken> {
  const { headers } = arrival.request;
  refuseCodings(headers);
  const length = headers['content-length'];
  const expected = length === undefined ? undefined : Number(length);
  // A body without codings and ranges is the file, and so are its digests.
  const digests = parseContentDigest(headers['content-digest']?.toString());
  const sha512 = digests.has('sha-512') ? createHash('sha512') : undefined;
  return take(options, arrival, async (source, policy, receive) => {
    // Nothing surrounds the file: its length is known before its first byte.
    if (expected !== undefined) policy.checkSize(expected);
    const body = name === undefined ? await unlessEmpty(source) : source;
    // As with a nameless part: nothing under no name is no file; nothing under a name is an empty one.
    if (body === undefined) throw new Problem('no-file', { detail: 'The body is empty and has no name.' });
    const file = await receive({
      filename: name ?? 'file',
      declaredType: headers['content-type'],
      body: sha512 === undefined ? body : hashing(body, sha512),
      expectedBytes: expected,
    });
    const pointer = '#/headers/content-digest';
    checkDigest(pointer, 'SHA-256', digests.get('sha-256'), file.sha256);
    if (sha512) checkDigest(pointer, 'SHA-512', digests.get('sha-512'), sha512.digest());
    return [file];
  });
}

/**
 * The bytes are stored as they come. Coded ones would be shown as what they are not, and a range would become the
 * whole file (RFC 9110 §14.5; `curl -C - -T` sends one).
 */
function refuseCodings(headers: IncomingHttpHeaders): void {
  const coding = headers['content-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'identity') {
    throw new Problem('unsupported-media-type', {
      detail: 'Send the file without a Content-Encoding.',
      headers: { 'accept-encoding': 'identity' },
    });
  }
  if (headers['content-range'] !== undefined) {
    throw new Problem('invalid-request', {
      detail: 'A file is sent as a whole.',
      errors: [{ pointer: '#/headers/content-range', detail: 'is not taken here' }],
    });
  }
}

/** How the files of one kind of request are told apart; each is handed to `receive`, for storing or only for hashing. */
type Read = <Received extends Passed>(
  source: BodySource,
  policy: Policy,
  receive: (file: IncomingFile) => Promise<Received>,
) => Promise<readonly Received[]>;

/** What all ways through one request share: receive, acknowledge together, or give up together. */
async function take(
  options: IntakeOptions,
  { request, projectId, caller, sha256, idempotencyKey }: Arrival,
  read: Read,
): Promise<Taken> {
  const { db } = options;
  const project = await findProject(db, projectId);
  if (!project) throw new Problem('not-found');
  const upload = options.active.begin();
  const source = readBody(request, options.limits, upload.signal);
  try {
    const reception = await receptionOf(options, project, creatorOf(caller), upload);
    const readAll = async <Received extends Passed>(receive: (file: IncomingFile) => Promise<Received>) => {
      const received = await read(source, reception.policy, receive);
      for (const file of received) checkDigest('#/query/sha256', 'SHA-256', sha256, file.sha256);
      return received;
    };
    const brought =
      idempotencyKey === undefined ? undefined : await hold(options, upload, project, idempotencyKey);
    if (brought) {
      const again = await readAll((file) => hashFile(reception.policy, file));
      return { files: await replay(db, project.id, brought, again), replayed: true };
    }
    const received = await readAll((file) => receiveFile(reception, file));
    const { held } = upload;
    upload.beating.clear();
    upload.held = undefined;
    try {
      return { files: await acknowledge(options, project, received, held), replayed: false };
    } catch (error) {
      // Not acknowledged: the key is to be freed with the rest.
      upload.held = held;
      throw error;
    }
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

/** Transaction 2: every file is acknowledged and what is made of it planned, or nothing is. */
async function acknowledge(
  options: IntakeOptions,
  project: Project,
  received: readonly ReceivedFile[],
  held: HeldKey | undefined,
): Promise<readonly FileRow[]> {
  const { db } = options;
  try {
    return await inTransaction(db, async (tx) => {
      const files = await settleReceived(tx, options, project, received);
      if (held) await completeKey(tx, held, broughtBy(received));
      return files;
    });
  } catch (error) {
    if (error instanceof UploadLost || error instanceof Problem) throw error;
    // The connection may have been lost between COMMIT and its answer: then the files stand, and are told so.
    const ids = received.map(({ row }) => row.id);
    const standing = isConnectionError(error) ? await standAfterAll(db, project.id, ids) : undefined;
    if (standing === undefined) throw error;
    return standing;
  }
}
