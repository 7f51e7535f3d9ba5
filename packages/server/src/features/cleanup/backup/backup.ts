import { randomBytes } from 'node:crypto';
import { lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { isAbsent } from '../../../foundation/blobs/disk-errors.js';
import { syncFolder } from '../../../foundation/blobs/disk-folders.js';
import { openDiskStore } from '../../../foundation/blobs/disk.js';
import type { Db } from '../../../foundation/database/connect.js';
import { dumpTables, syncFile } from '../../../foundation/database/dump.js';
import { findInstallation } from '../identity-queries.js';
import { BackupError, blobFolder, descriptionFile, formatVersion, type BackupDescription } from './format.js';
import { letGo, renewHold, takeHold } from './hold-queries.js';
import { readManifest, writeManifest } from './manifest.js';
import { moveBlobs } from './move-blobs.js';

export interface BackupOptions {
  readonly db: Db;
  /** Of the database, past any transaction pooler. */
  readonly url: string;
  readonly migrations: string | URL;
  /** Must not exist yet; the folder above it must. */
  readonly to: string;
  /** The store whose blobs go into the backup; undefined when only the rows do. */
  readonly blobs: BlobStore | undefined;
  /** Of that store, when it is one on disk: blobs become hard links where the file system lets them. */
  readonly storeFolder: string | undefined;
  readonly program: string;
  readonly signal: AbortSignal;
  /** Told of a blob that is missing or altered. */
  readonly onFailure: (key: string, reason: string) => void;
}

/** Several renewals may fail before a hold ends. */
const renewEveryMs = 60_000;

/**
 * Writes everything that the database holds, as of one moment, and the blobs if wanted, into a new folder. It has its
 * name only once it is whole and durable. Nobody waits for a backup; blobs are not deleted while it runs.
 * @throws BackupError, and what the database and the store throw; the folder is not there then.
 */
export async function makeBackup(options: BackupOptions): Promise<BackupDescription> {
  const to = resolve(options.to);
  await refuseExisting(to);
  const partial = join(dirname(to), `.${basename(to)}.partial-${randomBytes(6).toString('hex')}`);
  await mkdir(partial, { mode: 0o700 }).catch((error: unknown) => {
    throw new BackupError(`The folder ${dirname(to)} is missing or cannot be written to.`, { cause: error });
  });
  try {
    const description = await underHold(options, (signal) => fillFolder({ ...options, signal }, partial));
    await refuseExisting(to);
    await rename(partial, to);
    await syncFolder(dirname(to));
    return description;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

async function fillFolder(options: BackupOptions, folder: string): Promise<BackupDescription> {
  const { url, migrations, blobs, signal } = options;
  const seen: { manifest?: Awaited<ReturnType<typeof writeManifest>>; installation?: string } = {};
  const dump = await dumpTables({
    url,
    migrations,
    folder,
    signal,
    beside: async (db) => {
      seen.manifest = await writeManifest(db, folder);
      const installation = await findInstallation(db);
      if (installation) seen.installation = installation.id;
    },
  });
  if (!seen.manifest) throw new TypeError('a dump looks at the manifest');
  if (blobs) await copyBlobs(options, blobs, folder);
  const description: BackupDescription = {
    format: formatVersion,
    program: options.program,
    madeAt: new Date().toISOString(),
    installation: seen.installation ?? null,
    migrations: [...dump.migrations],
    tables: dump.tables.map((table) => ({ ...table, columns: [...table.columns] })),
    blobs: { ...seen.manifest, included: blobs !== undefined },
  };
  const path = join(folder, descriptionFile);
  await writeFile(path, `${JSON.stringify(description, null, 2)}\n`, { flag: 'wx', mode: 0o600 });
  await syncFile(path);
  await syncFolder(join(folder, 'tables'));
  await syncFolder(folder);
  return description;
}

async function copyBlobs(options: BackupOptions, from: BlobStore, folder: string): Promise<void> {
  const { storeFolder, signal, onFailure } = options;
  const target = join(folder, blobFolder);
  const to = await openDiskStore({ folder: target });
  try {
    const { failures } = await moveBlobs({
      from,
      to,
      blobs: readManifest(folder),
      ...(storeFolder !== undefined && { folders: { from: storeFolder, to: target } }),
      signal,
      onFailure,
    });
    if (failures > 0) {
      throw new BackupError(
        `${failures} blobs are missing or altered, so there is no backup. Without --blobs the rows alone are backed up.`,
      );
    }
  } finally {
    await to.close();
  }
}

/** Keeps what the rows name in the store until the work has ended; ends the work when that is not sure any more. */
async function underHold<T>(
  { db, signal }: BackupOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const id = await takeHold(db);
  const lost = new AbortController();
  const renew = async (): Promise<void> => {
    if (!(await renewHold(db, id))) {
      lost.abort(
        new BackupError('The backup stood still for too long: blobs may have been deleted meanwhile.'),
      );
    }
  };
  const timer = setInterval(() => {
    // The next renewal may reach the database; if none does, the last one finds the hold ended.
    renew().catch(() => undefined);
  }, renewEveryMs);
  try {
    const result = await work(AbortSignal.any([signal, lost.signal]));
    await renew();
    lost.signal.throwIfAborted();
    return result;
  } finally {
    clearInterval(timer);
    await letGo(db, id);
  }
}

async function refuseExisting(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (isAbsent(error)) return;
    throw error;
  }
  throw new BackupError(`${path} exists already. Give each backup a folder of its own.`);
}
