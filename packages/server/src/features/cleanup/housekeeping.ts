import Type from 'typebox';

import type { BlobStore, UnfinishedMultipart } from '../../foundation/blobs/blob-store.js';
import { placeOf } from '../../foundation/blobs/keys.js';
import type { Db } from '../../foundation/database/connect.js';
import { countRows } from '../../foundation/database/count.js';
import {
  defineJob,
  type JobHandler,
  type TimetableEntry,
  timetableAttempts,
} from '../../foundation/queue/define.js';
import { forgetFinished, oldFinished } from '../../foundation/queue/observe.js';
import { endedCounts, forgetCounts } from '../access/limit-queries.js';
import { deleteExpiredLinks, expiredLinks } from '../accounts/link-queries.js';
import { deleteEndedSessions, endedSessions } from '../accounts/session-queries.js';
import { deletedUsers, forgetUsers } from '../accounts/user-queries.js';
import { forgetEntries, oldEntries } from '../audit/queries.js';
import { forgetEvents, oldEvents } from '../events/queries.js';
import { forgetKeys, oldKeys } from '../files/upload-key-queries.js';
import { inBatches } from './batches.js';
import { isPutAlive } from './queries.js';
import { recorded, type Due, type Recorder } from './recorded.js';
import { storeFault } from './store-identity.js';

export interface HousekeepingOptions extends Recorder {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Seconds after which what a put has left in the store, and no row names, is nobody's. */
  readonly temporariesSeconds: number;
  /** Seconds for which finished jobs are kept, and dead ones. */
  readonly jobsSeconds: number;
  readonly deadJobsSeconds: number;
  /** Seconds for which events are kept that nobody has taken. */
  readonly eventsSeconds: number;
  /** Seconds for which `Idempotency-Key`s are remembered. */
  readonly uploadKeysSeconds: number;
  /** Seconds for which the rows of deleted people are kept. */
  readonly trashSeconds: number;
  /** Seconds for which the audit log is kept; null: for ever. */
  readonly auditSeconds: number | null;
  /** Most rows of each kind that one run takes. */
  readonly cap: number;
}

const policy = {
  payload: Type.Object({}),
  lane: 'background',
  attempts: timetableAttempts,
  timeoutSeconds: 600,
} as const;
const removeTemporaries = defineJob({ name: 'remove-temporaries', ...policy });
const expireSessions = defineJob({ name: 'expire-sessions', ...policy });
const forgetJobs = defineJob({ name: 'forget-jobs', ...policy });
const forgetUploadKeys = defineJob({ name: 'forget-upload-keys', ...policy });
const forgetOldEvents = defineJob({ name: 'forget-events', ...policy });
const forgetPeople = defineJob({ name: 'forget-people', ...policy });
const forgetAudit = defineJob({ name: 'forget-audit', ...policy });
const forgetLimits = defineJob({ name: 'forget-limits', ...policy });

export const housekeepingKinds = [
  removeTemporaries,
  expireSessions,
  forgetJobs,
  forgetUploadKeys,
  forgetOldEvents,
  forgetPeople,
  forgetAudit,
  forgetLimits,
] as const;

/** At different minutes, so that they do not meet. */
export const housekeepingTimetable: readonly TimetableEntry[] = [
  { name: 'remove-temporaries', cron: '17 * * * *', kind: removeTemporaries, payload: {} },
  { name: 'expire-sessions', cron: '37 3 * * *', kind: expireSessions, payload: {} },
  { name: 'forget-jobs', cron: '47 * * * *', kind: forgetJobs, payload: {} },
  { name: 'forget-events', cron: '57 * * * *', kind: forgetOldEvents, payload: {} },
  { name: 'forget-upload-keys', cron: '27 * * * *', kind: forgetUploadKeys, payload: {} },
  { name: 'forget-people', cron: '7 4 * * *', kind: forgetPeople, payload: {} },
  { name: 'forget-audit', cron: '37 4 * * *', kind: forgetAudit, payload: {} },
  { name: 'forget-limits', cron: '52 * * * *', kind: forgetLimits, payload: {} },
];

/** Rows of one statement. */
const batch = 5_000;
/** Of each deleted person the rows of several tables go, or forget their name. */
const peopleAtOnce = 20;

/** Something that goes once it is old: how it is taken away, and the query that finds it. */
interface Old {
  readonly item: string;
  readonly batch?: number;
  readonly take: (limit: number) => Promise<number>;
  readonly rows: Parameters<typeof countRows>[1];
}

/** Removes what killed processes leave in the store's own corners, and rows that nobody looks at any more. */
export function createHousekeeping(options: HousekeepingOptions): {
  readonly handlers: readonly JobHandler[];
  readonly due: Due;
} {
  const { db, blobs, cap, eventsSeconds, trashSeconds, uploadKeysSeconds, auditSeconds } = options;
  const ages = { olderThanSeconds: options.jobsSeconds, deadOlderThanSeconds: options.deadJobsSeconds };
  // An honest upload at 64 KB/s takes days, and one of several requests may pause for as long.
  // What is not of our layout is somebody else's, who shares the bucket.
  const isWanted = async (put: UnfinishedMultipart): Promise<boolean> =>
    placeOf(put.key).kind === 'foreign' || (await isPutAlive(db, put));
  const countUnwanted = async (): Promise<number> => {
    let found = 0;
    const before = Date.now() - options.temporariesSeconds * 1000;
    for await (const put of blobs.multipart.list('')) {
      if (put.begunAt.getTime() < before && !(await isWanted(put))) found += 1;
    }
    return found;
  };
  const lines: readonly (readonly [typeof forgetJobs, readonly Old[]])[] = [
    [
      expireSessions,
      [
        { item: 'sessions', take: (limit) => deleteEndedSessions(db, limit), rows: endedSessions(db) },
        { item: 'links', take: (limit) => deleteExpiredLinks(db, limit), rows: expiredLinks(db) },
      ],
    ],
    [
      forgetUploadKeys,
      [
        {
          item: 'keys',
          take: (limit) => forgetKeys(db, uploadKeysSeconds, limit),
          rows: oldKeys(db, uploadKeysSeconds),
        },
      ],
    ],
    [forgetLimits, [{ item: 'counts', take: (limit) => forgetCounts(db, limit), rows: endedCounts(db) }]],
    [
      forgetOldEvents,
      [
        {
          item: 'events',
          take: (limit) => forgetEvents(db, eventsSeconds, limit),
          rows: oldEvents(db, eventsSeconds),
        },
      ],
    ],
    [
      forgetJobs,
      [{ item: 'jobs', take: (limit) => forgetFinished(db, { ...ages, limit }), rows: oldFinished(ages) }],
    ],
    [
      forgetPeople,
      [
        {
          item: 'people',
          batch: peopleAtOnce,
          take: (limit) => forgetUsers(db, trashSeconds, limit),
          rows: deletedUsers(db, trashSeconds),
        },
      ],
    ],
    [
      forgetAudit,
      auditSeconds === null
        ? []
        : [
            {
              item: 'entries',
              take: (limit) => forgetEntries(db, auditSeconds, limit),
              rows: oldEntries(db, auditSeconds),
            },
          ],
    ],
  ];
  return {
    handlers: [
      recorded(options, removeTemporaries, async ({ log }, count) => {
        const fault = await storeFault({ db, blobs });
        if (fault !== undefined) return log.error(fault);
        const removed = await blobs.removeStaleTemporaries(options.temporariesSeconds * 1000, isWanted);
        count('puts', removed);
        if (removed > 0) log.info({ removed }, 'unfinished puts removed from the store');
      }),
      ...lines.map(([kind, things]) =>
        recorded(options, kind, async ({ signal }, count) => {
          for (const { item, take, batch: atOnce = batch } of things)
            await inBatches({ signal, batch: atOnce, cap }, take, (rows) => count(item, rows));
        }),
      ),
    ],
    due: {
      [removeTemporaries.name]: async () => ({ puts: await countUnwanted() }),
      ...Object.fromEntries(
        lines.map(([kind, things]) => [
          kind.name,
          async () => {
            const counts: Record<string, number> = {};
            for (const { item, rows } of things) counts[item] = await countRows(db, rows, cap);
            return counts;
          },
        ]),
      ),
    },
  };
}
