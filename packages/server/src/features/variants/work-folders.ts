import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { Log } from '../../foundation/log.js';
import { abandonedSeconds } from './claim.js';

export interface WorkFolders {
  /** Runs `work` with an empty folder of its own, which is removed afterwards, whatever happens. */
  use<T>(work: (folder: string) => Promise<T>): Promise<T>;
}

const prefix = 'render-';
/** Milliseconds between two looks for what killed workers have left. */
const sweepEveryMs = 10 * 60 * 1000;

/**
 * Folders for attempts below `parent`. What a killed worker leaves there is removed by those that come after it,
 * as soon as its attempt can no longer be alive: a process id would say so sooner, but not across containers.
 */
export function createWorkFolders(parent: string, log: Log): WorkFolders {
  let nextSweep = 0;

  const sweep = async (): Promise<void> => {
    for (const name of await readdir(parent)) {
      if (!name.startsWith(prefix)) continue;
      const path = join(parent, name);
      const info = await stat(path).catch(() => undefined);
      // Gone already: its owner, or another sweep, was quicker.
      if (!info || Date.now() - info.mtimeMs < abandonedSeconds * 1000) continue;
      await rm(path, { recursive: true, force: true });
      log.info({ folder: name }, 'removed what a killed worker had left');
    }
  };

  return {
    async use(work) {
      if (Date.now() >= nextSweep) {
        nextSweep = Date.now() + sweepEveryMs;
        await sweep().catch((error: unknown) => {
          // Work goes on beside old rubbish; the next sweep tries again.
          log.warn({ err: error }, 'could not remove old temporary folders');
        });
      }
      const folder = await mkdtemp(join(parent, prefix));
      try {
        return await work(folder);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
