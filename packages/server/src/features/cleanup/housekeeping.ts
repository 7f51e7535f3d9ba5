import Type from 'typebox';

import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import { defineJob, handle, type JobHandler, type TimetableEntry } from '../../foundation/queue/define.js';
import { forgetFinished } from '../../foundation/queue/observe.js';
import { deleteExpiredLinks } from '../accounts/link-queries.js';
import { deleteEndedSessions } from '../accounts/session-queries.js';
import { forgetKeys } from '../files/upload-key-queries.js';
import { isPutAlive } from './queries.js';
import { storeFault } from './store-identity.js';

export interface HousekeepingOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
}

const daySeconds = 24 * 60 * 60;
/** Puts that began a day ago and that no row names belong to nobody: the row is committed before the put begins. */
const staleTemporariesMs = daySeconds * 1000;
/** A finished job is kept to answer “what happened?”; a dead one until somebody had a month to look. */
const finishedSeconds = 7 * daySeconds;
const deadSeconds = 30 * daySeconds;
/** Rows of one statement, so that none holds locks for long; a run goes on until less than that is left. */
const batch = 5_000;

const policy = { payload: Type.Object({}), lane: 'background', attempts: 1, timeoutSeconds: 600 } as const;
const removeTemporaries = defineJob({ name: 'remove-temporaries', ...policy });
const expireSessions = defineJob({ name: 'expire-sessions', ...policy });
const forgetJobs = defineJob({ name: 'forget-jobs', ...policy });
const forgetUploadKeys = defineJob({ name: 'forget-upload-keys', ...policy });

export const housekeepingKinds = [removeTemporaries, expireSessions, forgetJobs, forgetUploadKeys] as const;

/** At different minutes, so that they do not meet. */
export const housekeepingTimetable: readonly TimetableEntry[] = [
  { name: 'remove-temporaries', cron: '17 * * * *', kind: removeTemporaries, payload: {} },
  { name: 'expire-sessions', cron: '37 3 * * *', kind: expireSessions, payload: {} },
  { name: 'forget-jobs', cron: '47 * * * *', kind: forgetJobs, payload: {} },
  { name: 'forget-upload-keys', cron: '27 * * * *', kind: forgetUploadKeys, payload: {} },
];

/** Removes what killed processes leave in the store's own corners, ended sessions, old finished jobs and keys. */
export function housekeepingHandlers({ db, blobs }: HousekeepingOptions): readonly JobHandler[] {
  return [
    handle(removeTemporaries, async ({ log }) => {
      const fault = await storeFault({ db, blobs });
      if (fault !== undefined) return log.error(fault);
      // An honest upload at 64 KB/s takes days, and one of several requests may pause for as long.
      const removed = await blobs.removeStaleTemporaries(staleTemporariesMs, (put) => isPutAlive(db, put));
      if (removed > 0) log.info({ removed }, 'unfinished puts removed from the store');
    }),
    handle(expireSessions, async ({ signal }) => {
      await inBatches(signal, () => deleteEndedSessions(db, batch));
      await inBatches(signal, () => deleteExpiredLinks(db, batch));
    }),
    handle(forgetUploadKeys, ({ signal }) => inBatches(signal, () => forgetKeys(db, batch))),
    handle(forgetJobs, ({ signal }) =>
      inBatches(signal, () =>
        forgetFinished(db, {
          olderThanSeconds: finishedSeconds,
          deadOlderThanSeconds: deadSeconds,
          limit: batch,
        }),
      ),
    ),
  ];
}

async function inBatches(signal: AbortSignal, run: () => Promise<number>): Promise<void> {
  while (!signal.aborted && (await run()) >= batch);
}
