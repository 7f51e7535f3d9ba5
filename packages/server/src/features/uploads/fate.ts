import { setTimeout as sleep } from 'node:timers/promises';

import type { Db } from '../../foundation/database/connect.js';
import { isConnectionError } from '../../foundation/database/errors.js';
import { fatesOf } from '../files/intake-queries.js';
import type { FileRow } from '../files/queries.js';

/** Waits before each time that is asked: what cut off the answer often cuts off the next ones too. */
const waitsMs = [0, 100, 400, 1_500, 3_000, 5_000] as const;

/**
 * Finds out whether a transaction that was to acknowledge files did so, when its answer was lost: to say that an upload
 * failed would be wrong when its files stand.
 * @returns the files when all of them stand; undefined when they do not, or when nobody can be asked.
 */
export async function standAfterAll(
  db: Db,
  projectId: string,
  fileIds: readonly string[],
): Promise<readonly FileRow[] | undefined> {
  for (const wait of waitsMs) {
    await sleep(wait);
    try {
      const files = await fatesOf(db, projectId, fileIds);
      return files.length === fileIds.length ? files : undefined;
    } catch (error) {
      if (!isConnectionError(error)) throw error;
    }
  }
  return undefined;
}
