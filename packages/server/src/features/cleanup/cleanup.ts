import Type from 'typebox';

import { countRows } from '../../foundation/database/count.js';
import {
  defineJob,
  type JobHandler,
  type TimetableEntry,
  timetableAttempts,
} from '../../foundation/queue/define.js';
import type { Log } from '../../foundation/log.js';
import { purgeBlobs } from '../files/purge-job.js';
import { isHeld } from './backup/hold-queries.js';
import { createHousekeeping, housekeepingTimetable, type HousekeepingOptions } from './housekeeping.js';
import { createDeletionHandler } from './deletions/job.js';
import { dueOpenUploads, endOpenUploads } from './open-uploads.js';
import { createPurgeProjectHandler } from './projects/purge-job.js';
import { purgeDueKeys } from './purge.js';
import { dueKeys, expireUploads, staleUploads } from './queries.js';
import { recorded, type Due } from './recorded.js';
import { storeFault } from './store-identity.js';
import { createTrashHandler, dueTrash, purgeTrashJob, trashTimetable } from './trash.js';

/** Gives up the uploads of processes that died. */
export const expireUploadsJob = defineJob({
  name: 'expire-uploads',
  payload: Type.Object({}),
  lane: 'background',
  attempts: timetableAttempts,
  timeoutSeconds: 300,
});

export interface CleanupOptions extends HousekeepingOptions {
  readonly log: Log;
  /** Silence after which an unfinished upload's process is taken for dead. */
  readonly uploadStaleSeconds: number;
  /** Silence after which an unfinished upload of several requests is given up. */
  readonly uploadExpirySeconds: number;
  /** Seconds for which what is in the trash can be restored, and for which the rows of deleted people are kept. */
  readonly trashSeconds: number;
  /** Most uploads, files, blobs or rows that one run of a line takes; its next run goes on. */
  readonly cap: number;
}

export interface Cleanup {
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
  readonly due: Due;
}

/** Rows of one transaction, and keys of one call to the store. */
const batch = 500;
/**
 * Seconds after which the key of an expired upload is deleted once more. A process that was paused learns at its
 * next heartbeat (30 s) that its upload is lost, and a store call takes minutes at most.
 */
export const lateWriteSeconds = 15 * 60;
const everyMinute = '* * * * *';

/** What time makes worthless, and who takes it away. */
export function createCleanup(options: CleanupOptions): Cleanup {
  const { db, blobs, uploadStaleSeconds, cap } = options;
  const housekeeping = createHousekeeping(options);
  const trash = { ...options, againAfter: lateWriteSeconds };

  const expire = recorded(options, expireUploadsJob, async ({ signal, log }, count) => {
    let expired = 0;
    while (expired < cap && !signal.aborted) {
      const limit = Math.min(batch, cap - expired);
      const found = await expireUploads(db, {
        staleSeconds: uploadStaleSeconds,
        againAfter: lateWriteSeconds,
        limit,
      });
      expired += found;
      if (found < limit) break;
    }
    if (expired > 0) log.info({ expired }, 'unfinished uploads expired');
    count('uploads', expired);
    await endOpenUploads(options, { batch, cap, againAfter: lateWriteSeconds, signal, log, count });
  });

  const purge = recorded(options, purgeBlobs, async ({ signal, log }, count) => {
    const fault = await storeFault({ db, blobs });
    if (fault !== undefined) return log.error(fault);
    if (await isHeld(db)) return log.info('a backup is being made; no blob is deleted meanwhile');
    const { deleted, failed, more } = await purgeDueKeys({ db, blobs, log, signal, batch, cap });
    count('deleted', deleted);
    count('failed', failed);
    if (deleted + failed > 0) log.info({ deleted, failed, more }, 'blobs deleted');
  });

  return {
    handlers: [
      expire,
      purge,
      createTrashHandler(trash),
      createPurgeProjectHandler({ db, blobs, againAfter: lateWriteSeconds }),
      createDeletionHandler({ db, againAfter: lateWriteSeconds }),
      ...housekeeping.handlers,
    ],
    timetable: [
      { name: 'expire-uploads', cron: everyMinute, kind: expireUploadsJob, payload: {} },
      { name: 'purge-blobs', cron: everyMinute, kind: purgeBlobs, payload: {} },
      trashTimetable,
      ...housekeepingTimetable,
    ],
    due: {
      [expireUploadsJob.name]: async () => ({
        uploads: await countRows(db, staleUploads(db, uploadStaleSeconds), cap),
        ...(await dueOpenUploads(options, cap)),
      }),
      [purgeBlobs.name]: async () => ({ blobs: await countRows(db, dueKeys(db), cap) }),
      [purgeTrashJob.name]: () => dueTrash(trash),
      ...housekeeping.due,
    },
  };
}
