import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';

import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { originalKey } from '../../../foundation/blobs/keys.js';
import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { Imaging, PictureFacts } from '../../../foundation/imaging/imaging.js';
import { detectType, sniffedBytes } from '../../../foundation/media-types.js';
import { Problem } from '../../../foundation/problems.js';
import { settleFiles } from '../../files/intake-queries.js';
import { bury, type FileRow } from '../../files/queries.js';
import {
  abandonUploads,
  completeUpload,
  findUpload,
  openFileOfUpload,
  resizeUpload,
  type UploadRow,
} from '../../files/upload-queries.js';
import { findProject, inTransaction, type Project } from '../../projects/queries.js';
import type { PlanVariants } from '../entry.js';
import { findUploadRules } from '../../keys/upload-rules-queries.js';
import { policyOf, type Policy } from '../policy.js';
import { findVerifying, secondsOfAddresses } from './queries.js';

export interface VerifyOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly imaging: Pick<Imaging, 'probe'>;
  readonly planVariants: PlanVariants;
  /** Largest file in bytes; a project can only lower it. */
  readonly maxBytes: number;
  /** Quota of projects that set none, in bytes; null is no limit. */
  readonly defaultQuotaBytes: number | null;
  /** Most bytes of a picture held in memory to find its header. */
  readonly headProbeBytes?: number | undefined;
}

/** Seconds beyond the last address within which a put that began under it may still end. */
const lateWriteSeconds = 15 * 60;

/** What the final blob turned out to be. */
interface Read {
  readonly size: number;
  readonly sha256: Buffer;
  readonly head: Buffer;
}

/**
 * Makes a file of what a client has sent to the store itself. The bytes are copied, inside the store, to a key that no
 * client can write, and everything is judged by reading that copy: a client's or a store's word is no proof, and an
 * address that is used again changes nothing. May run any number of times.
 *
 * @param finish runs the last transaction; a job's fences it by its lease.
 * @returns the file; undefined when the upload was given up meanwhile.
 * @throws Problem when the bytes are refused; the upload is given up then.
 */
export async function verifyUpload(
  options: VerifyOptions,
  { project_id: projectId, id: uploadId }: Pick<UploadRow, 'id' | 'project_id'>,
  signal: AbortSignal,
  finish: <T>(work: (tx: Tx) => Promise<T>) => Promise<T> = (work) => inTransaction(options.db, work),
): Promise<FileRow | undefined> {
  const { db, blobs, planVariants } = options;
  const upload = await findUpload(db, projectId, uploadId);
  const project = await findProject(db, projectId);
  if (upload?.status !== 'completing' || !project) return undefined;
  const policy = policyOf({
    settings: project.settings,
    maxBytes: options.maxBytes,
    imaging: options.imaging,
    key: await findUploadRules(db, projectId, upload.created_by_key),
  });
  try {
    const opened = await findVerifying(db, upload);
    const row = opened ?? (await openFile(options, upload, project, policy));
    await blobs.copy(upload.staging_key, row.s3_key, { contentType: row.mime_type, signal });
    const read = await readThrough(options, row.s3_key, signal);
    const facts = await judge(upload, row, read, policy, signal);
    const found = {
      size: read.size,
      sha256: read.sha256,
      width: facts?.width ?? null,
      height: facts?.height ?? null,
    };
    return await finish(async (tx) => {
      const againAfter = (await secondsOfAddresses(tx, uploadId)) + lateWriteSeconds;
      const status = await planVariants(tx, { ...row, ...found }, project.settings);
      const [file] = await settleFiles(tx, projectId, [{ id: row.id, status, ...found }]);
      await completeUpload(tx, uploadId);
      await bury(tx, [{ key: upload.staging_key, projectId, reason: 'upload completed', againAfter }]);
      return file;
    });
  } catch (error) {
    if (error instanceof Problem && isFinal(error)) await giveUp(db, upload, error);
    throw error;
  }
}

/** Gives an upload up for a reason that its client is told now, and whenever it asks again. */
export async function giveUp(
  db: Db,
  { project_id: projectId, id }: Pick<UploadRow, 'id' | 'project_id'>,
  { code, message }: Problem,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    const againAfter = (await secondsOfAddresses(tx, id)) + lateWriteSeconds;
    await abandonUploads(tx, projectId, [id], { code, detail: message, againAfter });
  });
}

/** Refusals of the bytes themselves; what is left (the store, the database) may be better the next time. */
function isFinal({ status }: Problem): boolean {
  return status < 500;
}

/** Gives the bytes their key: by their first ones, which are looked at again once nobody else can write them. */
async function openFile(
  { db, blobs, defaultQuotaBytes }: VerifyOptions,
  upload: UploadRow,
  { settings }: Project,
  policy: Policy,
): Promise<FileRow> {
  const stat = await blobs.stat(upload.staging_key);
  if (!stat) throw new Problem('upload-incomplete', { detail: 'Nothing has arrived in the store.' });
  checkSize(upload, policy, stat.size);
  const head = await firstBytes(blobs, upload.staging_key, Math.min(stat.size, sniffedBytes));
  const { mime, extension } = await detectType(head);
  policy.checkType({ mime, extension });
  const quota = { bytes: settings.quota.bytes ?? defaultQuotaBytes, files: settings.quota.files };
  return inTransaction(db, async (tx) => {
    const { project_id: projectId, id, file_id: fileId } = upload;
    await resizeUpload(tx, projectId, id, { need: stat.size, want: stat.size }, quota);
    return openFileOfUpload(tx, upload, { key: originalKey(projectId, fileId, extension), mimeType: mime });
  });
}

async function firstBytes(blobs: BlobStore, key: string, length: number): Promise<Buffer> {
  if (length === 0) return Buffer.alloc(0);
  const { body } = await blobs.get(key, { range: { start: 0, end: length - 1 } });
  return buffer(body);
}

async function readThrough(
  { blobs, headProbeBytes = 1024 * 1024 }: VerifyOptions,
  key: string,
  signal: AbortSignal,
): Promise<Read> {
  const { body } = await blobs.get(key, { signal });
  const hash = createHash('sha256');
  const head: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    hash.update(chunk);
    if (size < headProbeBytes) head.push(Buffer.from(chunk.subarray(0, headProbeBytes - size)));
    size += chunk.length;
  }
  return { size, sha256: hash.digest(), head: Buffer.concat(head) };
}

/** @throws Problem for whatever the project or the client itself does not want. */
async function judge(
  upload: UploadRow,
  row: FileRow,
  { size, sha256, head }: Read,
  policy: Policy,
  signal: AbortSignal,
): Promise<PictureFacts | undefined> {
  checkSize(upload, policy, size);
  if (upload.sha256 !== null && !upload.sha256.equals(sha256)) {
    throw new Problem('digest-mismatch', {
      detail: `The bytes that arrived have the SHA-256 ${sha256.toString('hex')}.`,
      errors: [{ pointer: '/sha256', detail: `says ${upload.sha256.toString('hex')}` }],
    });
  }
  const type = await detectType(head);
  if (type.mime !== row.mime_type || size > row.reserved_bytes) {
    throw new Problem('conflict', { detail: 'The bytes were changed while they were being verified.' });
  }
  policy.checkType(type);
  const facts = await policy.checkPicture(type, { bytes: head, complete: head.length === size }, signal);
  return facts === 'more-needed' ? undefined : facts;
}

function checkSize({ size: declared }: UploadRow, policy: Policy, size: number): void {
  policy.checkSize(size);
  if (declared === null || declared === size) return;
  throw new Problem('upload-incomplete', {
    detail: `${size} bytes arrived instead of the ${declared} that were declared.`,
    limit: declared,
    actual: size,
  });
}
