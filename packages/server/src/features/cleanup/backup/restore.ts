import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { errnoOf } from '../../../foundation/blobs/disk-errors.js';
import { openDiskStore } from '../../../foundation/blobs/disk.js';
import { tableFile } from '../../../foundation/database/dump.js';
import { loadTables } from '../../../foundation/database/load.js';
import { giveBackAll } from '../../../foundation/queue/give-back.js';
import { pauseDeletions } from '../identity-queries.js';
import { BackupError, blobFolder, manifestFile, readDescription, type BackupDescription } from './format.js';
import { forgetHolds } from './hold-queries.js';
import { readManifest } from './manifest.js';
import { moveBlobs, type Moved } from './move-blobs.js';

export interface RestoreOptions {
  /** Of the database, past any transaction pooler. */
  readonly url: string;
  readonly migrations: string | URL;
  /** The backup. */
  readonly from: string;
  /** Replaces what the database holds. */
  readonly force: boolean;
}

/**
 * Makes the database what it was when the backup was made, at the present schema, in one transaction. Every part is
 * verified before. Deletions are paused from then on, and nothing runs that was running.
 * @throws BackupError, LoadRefused, MigrationError: nothing has changed then.
 */
export async function restoreRows({
  url,
  migrations,
  from,
  force,
}: RestoreOptions): Promise<BackupDescription> {
  const description = await readDescription(from);
  await verifyParts(from, description);
  await loadTables({
    url,
    migrations,
    folder: from,
    dump: description,
    occupiedBy: 'projects',
    force,
    afterLoad: async (db) => {
      await pauseDeletions(db);
      await forgetHolds(db);
      await giveBackAll(db);
    },
  });
  return description;
}

/** Puts the blobs of the backup back that are missing in the store, or are others there. Deletes nothing. */
export async function restoreBlobs(options: {
  readonly from: string;
  readonly blobs: BlobStore;
  readonly signal: AbortSignal;
  readonly onFailure: (key: string, reason: string) => void;
}): Promise<Moved> {
  const { from, blobs, signal, onFailure } = options;
  const source = await openDiskStore({ folder: join(from, blobFolder) });
  try {
    // Never as hard links: a backup stays what it is, whatever becomes of the store.
    return await moveBlobs({ from: source, to: blobs, blobs: readManifest(from), signal, onFailure });
  } finally {
    await source.close();
  }
}

async function verifyParts(folder: string, { tables, blobs }: BackupDescription): Promise<void> {
  for (const { name, sha256 } of tables) await verify(tableFile(folder, name), sha256);
  await verify(join(folder, manifestFile), blobs.sha256);
}

async function verify(path: string, sha256: string): Promise<void> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new BackupError(`The backup lacks ${path}, or it cannot be read. Nothing was restored.`, {
      cause: error,
    });
  }
  if (hash.digest('hex') !== sha256) {
    throw new BackupError(`${path} is not the file that was backed up. Nothing was restored.`);
  }
}
