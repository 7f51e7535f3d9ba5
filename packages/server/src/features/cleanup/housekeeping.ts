import Type from 'typebox';

import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import { placeOf } from '../../foundation/blobs/keys.js';
import type { Db } from '../../foundation/database/connect.js';
import { defineJob, type JobHandler, type TimetableEntry } from '../../foundation/queue/define.js';
import { forgetFinished } from '../../foundation/queue/observe.js';
import { deleteExpiredLinks } from '../accounts/link-queries.js';
import { deleteEndedSessions } from '../accounts/session-queries.js';
import { forgetEvents } from '../events/queries.js';
import { forgetKeys } from '../files/upload-key-queries.js';
import { isPutAlive } from './queries.js';
import { recorded } from './recorded.js';
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
/** Events that nobody has taken are of no use after that. */
const eventSeconds = 7 * daySeconds;
/** Rows of one statement, so that none holds locks for long; a run goes on until less than that is left. */
const batch = 5_000;

const policy = { payload: Type.Object({}), lane: 'background', attempts: 1, timeoutSeconds: 600 } as const;
const removeTemporaries = defineJob({ name: 'remove-temporaries', ...policy });
const expireSessions = defineJob({ name: 'expire-sessions', ...policy });
const forgetJobs = defineJob({ name: 'forget-jobs', ...policy });
const forgetUploadKeys = defineJob({ name: 'forget-upload-keys', ...policy });
const forgetOldEvents = defineJob({ name: 'forget-events', ...policy });

export const housekeepingKinds = [
  removeTemporaries,
  expireSessions,
  forgetJobs,
  forgetUploadKeys,
  forgetOldEvents,
] as const;

/** At different minutes, so that they do not meet. */
export const housekeepingTimetable: readonly TimetableEntry[] = [
  { name: 'remove-temporaries', cron: '17 * * * *', kind: removeTemporaries, payload: {} },
  { name: 'expire-sessions', cron: '37 3 * * *', kind: expireSessions, payload: {} },
  { name: 'forget-jobs', cron: '47 * * * *', kind: forgetJobs, payload: {} },
  { name: 'forget-events', cron: '57 * * * *', kind: forgetOldEvents, payload: {} },
  { name: 'forget-upload-keys', cron: '27 * * * *', kind: forgetUploadKeys, payload: {} },
];

/** Removes what killed processes leave in the store's own corners, ended sessions, old finished jobs and keys. */
export function housekeepingHandlers({ db, blobs }: HousekeepingOptions): readonly JobHandler[] {
  return [
    recorded(db, removeTemporaries, async ({ log }, count) => {
      const fault = await storeFault({ db, blobs });
      if (fault !== undefined) return log.error(fault);
      // An honest upload at 64 KB/s takes days, and one of several requests may pause for as long.
      // What is not of our layout is somebody else's, who shares the bucket.
      const removed = await blobs.removeStaleTemporaries(
        staleTemporariesMs,
        async (put) => placeOf(put.key).kind === 'foreign' || (await isPutAlive(db, put)),
      );
      count('puts', removed);
      if (removed > 0) log.info({ removed }, 'unfinished puts removed from the store');
    }),
    recorded(db, expireSessions, async ({ signal }, count) => {
      await inBatches(
        signal,
        () => deleteEndedSessions(db, batch),
        (rows) => count('sessions', rows),
      );
      await inBatches(
        signal,
        () => deleteExpiredLinks(db, batch),
        (rows) => count('links', rows),
      );
    }),
    recorded(db, forgetUploadKeys, ({ signal }, count) =>
      inBatches(
        signal,
        () => forgetKeys(db, batch),
        (rows) => count('keys', rows),
      ),
    ),
    recorded(db, forgetOldEvents, ({ signal }, count) =>
      inBatches(
        signal,
        () => forgetEvents(db, eventSeconds, batch),
        (rows) => count('events', rows),
      ),
    ),
    recorded(db, forgetJobs, ({ signal }, count) =>
      inBatches(
        signal,
        () =>
          forgetFinished(db, {
            olderThanSeconds: finishedSeconds,
            deadOlderThanSeconds: deadSeconds,
            limit: batch,
          }),
        (rows) => count('jobs', rows),
      ),
    ),
  ];
}

async function inBatches(
  signal: AbortSignal,
  run: () => Promise<number>,
  count: (rows: number) => void,
): Promise<void> {
  for (let rows = batch; rows >= batch && !signal.aborted; count(rows)) rows = await run();
}
