import { mkdtemp, readdir, realpath, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface BlobFolder {
  readonly path: string;
  /** Names of the unfinished files of a store in this folder. */
  temporaries(): Promise<string[]>;
  remove(): Promise<void>;
}

/**
 * A new folder for a store under test: in memory where the machine has room there, since thousands of blobs are
 * synced one by one; on disk otherwise.
 */
export async function makeBlobFolder(): Promise<BlobFolder> {
  const path = await realpath(await mkdtemp(join(await roomyFolder(), 'mediablobkit-blobs-')));
  return {
    path,
    temporaries: () => readdir(join(path, '.tmp')),
    remove: () => rm(path, { recursive: true, force: true }),
  };
}

async function roomyFolder(): Promise<string> {
  try {
    const { bavail, bsize } = await statfs('/dev/shm');
    if (bavail * bsize >= 512 * 1024 * 1024) return '/dev/shm';
  } catch {
    // Not on Linux, or no such mount: the ordinary folder does.
  }
  return tmpdir();
}
