import { createHash } from 'node:crypto';

import { BlobTruncated, type BlobStore } from '../../../foundation/blobs/blob-store.js';
import type { Db, Tx } from '../../../foundation/database/connect.js';
import { Problem } from '../../../foundation/problems.js';
import { settleFiles } from '../../files/intake-queries.js';
import type { FileRow } from '../../files/queries.js';
import {
  abandonUploads,
  completeUpload,
  findUpload,
  openFileOfUpload,
  type UploadRow,
} from '../../files/upload-queries.js';
import { findProject, inTransaction } from '../../projects/queries.js';
import type { PlanVariants } from '../entry.js';
import { lateWriteSeconds, partsOf } from './queries.js';

export interface FinishOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly planVariants: PlanVariants;
}

/**
 * Makes a file of an upload whose bytes are all in the store. May run any number of times, and twice at once: by the
 * request that brought the last byte, and by the job that was enqueued in case that request dies.
 *
 * @param sha256 of the bytes, when the process that received them knows it; else the blob is read.
 * @param finish runs the last transaction; a job's fences it by its lease.
 * @returns the file; undefined when the upload was given up meanwhile.
 * @throws Problem `digest-mismatch`, with the upload given up.
 */
export async function finishUpload(
  { db, blobs, planVariants }: FinishOptions,
  { project_id: projectId, id: uploadId }: Pick<UploadRow, 'id' | 'project_id'>,
  sha256: Buffer | undefined,
  finish: <T>(work: (tx: Tx) => Promise<T>) => Promise<T> = (work) => inTransaction(db, work),
): Promise<FileRow | undefined> {
  const upload = await findUpload(db, projectId, uploadId);
  const project = await findProject(db, projectId);
  if (upload?.status !== 'completing' || !project) return undefined;
  const { staging_key: key, multipart_id: multipartId, mime_type: mimeType, size } = upload;
  if (mimeType === null || size === null) throw new TypeError(`the upload ${uploadId} has no type or size`);
  if (multipartId !== null) await blobs.multipart.complete(key, multipartId, await partsOf(db, uploadId));
  const digest = sha256 ?? (await readThrough(blobs, key, size));
  if (upload.sha256 !== null && !upload.sha256.equals(digest)) throw await refuse(db, upload, digest);

  return finish(async (tx) => {
    const row = await openFileOfUpload(tx, upload, { key, mimeType });
    const found = { size, sha256: digest, width: upload.width, height: upload.height };
    const status = await planVariants(tx, { ...row, ...found }, project.settings);
    const [file] = await settleFiles(tx, projectId, [{ id: row.id, status, ...found }]);
    await completeUpload(tx, uploadId);
    return file;
  });
}

/** @throws BlobTruncated when the blob has other than `size` bytes. */
async function readThrough(blobs: BlobStore, key: string, size: number): Promise<Buffer> {
  const { body } = await blobs.get(key);
  const hash = createHash('sha256');
  let count = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    hash.update(chunk);
    count += chunk.length;
  }
  if (count !== size) throw new BlobTruncated(`the store has ${count} bytes of ${size}`, key);
  return hash.digest();
}

async function refuse(db: Db, upload: UploadRow, digest: Buffer): Promise<Problem> {
  const problem = new Problem('digest-mismatch', {
    detail: `The bytes that arrived have the SHA-256 ${digest.toString('hex')}.`,
    errors: [
      { pointer: '#/headers/upload-metadata', detail: `says ${upload.sha256?.toString('hex') ?? ''}` },
    ],
  });
  await giveUp(db, upload, problem);
  return problem;
}

/** Gives an upload up for a reason that its client is told now, and whenever it comes back. */
export async function giveUp(
  db: Db,
  { project_id: projectId, id }: Pick<UploadRow, 'id' | 'project_id'>,
  { code, message }: Problem,
): Promise<void> {
  await inTransaction(db, (tx) =>
    abandonUploads(tx, projectId, [id], { code, detail: message, againAfter: lateWriteSeconds }),
  );
}
