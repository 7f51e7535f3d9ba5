import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Imaging } from '../../foundation/imaging/imaging.js';
import type { Log } from '../../foundation/log.js';
import { abandonFiles, settleFiles } from '../files/intake-queries.js';
import type { FileRow } from '../files/queries.js';
import { releaseKey } from '../files/upload-key-queries.js';
import { findUploadRules } from '../keys/upload-rules-queries.js';
import { inTransaction, type Project } from '../projects/queries.js';
import type { ProjectSettings } from '../projects/settings.js';
import type { ActiveUpload } from './active.js';
import { policyOf } from './policy.js';
import type { ReceivedFile, Reception } from './receive.js';

/** Plans what is made of a file, in the transaction that acknowledges it; returns the file's status. */
export type PlanVariants = (
  tx: Tx,
  file: FileRow,
  settings: ProjectSettings,
) => Promise<'processing' | 'ready'>;

/** How much a file may have, and how it is taken in. */
export interface EntryLimits {
  /** Largest file in bytes; a project can only lower it. */
  readonly maxBytes: number;
  /** Most bytes of a picture held in memory to find its header; 1 MiB when absent. */
  readonly headProbeBytes?: number | undefined;
  /** Bytes by which the reservation of a file of unknown size grows; 8 MiB when absent. */
  readonly reserveStepBytes?: number | undefined;
}

/** What every way in needs whose bytes pass through this process, be it a request or a job. */
export interface EntryOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly imaging: Pick<Imaging, 'probe'>;
  readonly planVariants: PlanVariants;
  readonly limits: EntryLimits;
  /** Quota of projects that set none, in bytes; null is no limit. */
  readonly defaultQuotaBytes: number | null;
  readonly log: Log;
}

/**
 * Seconds after which the key of an interrupted put is deleted once more: a bucket that already has the last byte
 * may store it that much later. Twice the longest time that a store call without progress is allowed to take.
 */
const lateWriteSeconds = 15 * 60;

/** What files of a project are received with; the rules are those of the key that brings them. */
export async function receptionOf(
  { db, blobs, imaging, limits, defaultQuotaBytes }: EntryOptions,
  { id, settings }: Project,
  createdBy: Reception['createdBy'],
  upload: ActiveUpload,
): Promise<Reception> {
  const key = await findUploadRules(db, id, createdBy.keyId);
  return {
    db,
    blobs,
    policy: policyOf({ settings, maxBytes: limits.maxBytes, imaging, key }),
    projectId: id,
    quota: { bytes: settings.quota.bytes ?? defaultQuotaBytes, files: settings.quota.files },
    createdBy,
    upload,
    reserveStepBytes: limits.reserveStepBytes ?? 8 * 1024 * 1024,
    headProbeBytes: limits.headProbeBytes ?? 1024 * 1024,
  };
}

/**
 * Acknowledges received files and plans what is made of them, in the transaction that ends whatever brought them.
 * @throws `UploadLost` when one of them is no upload under way any more.
 */
export async function settleReceived(
  tx: Tx,
  { planVariants }: Pick<EntryOptions, 'planVariants'>,
  { id: projectId, settings }: Project,
  received: readonly ReceivedFile[],
): Promise<readonly FileRow[]> {
  const settled = [];
  for (const { row, size, sha256, facts } of received) {
    const found = { size, sha256, width: facts?.width ?? null, height: facts?.height ?? null };
    const status = await planVariants(tx, { ...row, ...found }, settings);
    settled.push({ id: row.id, status, ...found });
  }
  return settleFiles(tx, projectId, settled);
}

/** Gives up what a failed upload has opened. What the database does not take now, cleanup does later. */
export async function abandon(
  { db, log }: Pick<EntryOptions, 'db' | 'log'>,
  projectId: string,
  { held, opened, writing }: ActiveUpload,
): Promise<void> {
  if (opened.size === 0 && !held) return;
  const late = writing.size > 0 ? lateWriteSeconds : undefined;
  try {
    await inTransaction(db, async (tx) => {
      await abandonFiles(tx, projectId, [...opened], 'upload failed', late);
      if (held) await releaseKey(tx, held);
    });
  } catch (error) {
    log.warn({ err: error, projectId }, 'a failed upload is left to cleanup');
  }
}
