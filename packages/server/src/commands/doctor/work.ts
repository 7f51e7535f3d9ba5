import { blobDeletions } from '../../features/jobs/queries.js';
import { lanes } from '../../foundation/queue/define.js';
import {
  longestOverdue,
  oldestWaitingAge,
  queueDepth,
  type QueueDepth,
} from '../../foundation/queue/observe.js';
import { ok, warn, type Diagnosis, type DoctorCheck, type OpenedDatabase } from './diagnosis.js';
import { ofTables } from './stock.js';

/** Longest waits of a lane that nobody has to look at, in seconds; what is in the background may wait for all else. */
const patience = { interactive: 30, normal: 120, background: 60 * 60 } as const;
/** The timetable's lines run from minute to minute; a worker that was just restarted has two. */
const overdueSeconds = 5 * 60;
const slowDeletionSeconds = 60 * 60;

/** What is to be done behind the requests, and whether somebody does it. */
export const workChecks: readonly DoctorCheck[] = [
  { name: 'workers', look: ofTables(async ({ db }) => judgeWorkers(await longestOverdue(db))) },
  { name: 'queue', look: ofTables(async ({ db }) => judgeQueue(await oldestWaitingAge(db))) },
  { name: 'dead-letters', look: ofTables(async ({ db }) => judgeDead(await queueDepth(db))) },
  { name: 'deletions', look: ofTables(deletions) },
];

/** @param overdue the line of the timetable that has been due for longest. */
export function judgeWorkers(
  overdue: { readonly name: string; readonly seconds: number } | undefined,
): Diagnosis {
  if (!overdue || overdue.seconds < overdueSeconds) return ok('the timetable is kept');
  return warn(
    `${overdue.name} has been due for ${inWords(overdue.seconds)}`,
    'No worker runs. Start the server, or mediablobkit worker beside mediablobkit api.',
  );
}

export function judgeQueue(ages: Awaited<ReturnType<typeof oldestWaitingAge>>): Diagnosis {
  const longest = Math.max(...lanes.map((lane) => ages[lane]));
  const late = lanes.find((lane) => ages[lane] > patience[lane]);
  if (late === undefined)
    return ok(longest === 0 ? 'nothing waits' : `the oldest job waits for ${inWords(longest)}`);
  return warn(
    `a job of the lane ${late} has waited for ${inWords(ages[late])}`,
    'Start a worker, or more of them (MBK_JOB_CONCURRENCY, MBK_IMAGING_PROCESSES).',
  );
}

export function judgeDead(depth: readonly QueueDepth[]): Diagnosis {
  const dead = depth.filter(({ state }) => state === 'dead');
  if (dead.length === 0) return ok('none');
  return warn(
    dead.map(({ kind, count }) => `${count} of ${kind}`).join(', '),
    'Look at their errors (GET /projects/{id}/jobs), mend the cause, and have them retried.',
  );
}

async function deletions({ db }: OpenedDatabase): Promise<Diagnosis> {
  const { waiting, failing, oldestAt, lastError } = await blobDeletions(db);
  const seconds = oldestAt === null ? 0 : (Date.now() - oldestAt.getTime()) / 1000;
  return judgeDeletions({ waiting, failing, seconds, lastError });
}

export interface Deletions {
  readonly waiting: number;
  /** Those that the store has refused. */
  readonly failing: number;
  /** Since when the oldest waits. */
  readonly seconds: number;
  readonly lastError: string | null;
}

export function judgeDeletions({ waiting, failing, seconds, lastError }: Deletions): Diagnosis {
  if (failing > 0) {
    return warn(
      `the store does not let go of ${failing} blobs: ${lastError ?? 'it does not say why'}`,
      'Let the keys of the store delete. The deletions are tried again for ever.',
    );
  }
  if (seconds < slowDeletionSeconds) return ok(waiting === 0 ? 'none wait' : `${waiting} wait`);
  return warn(
    `${waiting} wait, the oldest for ${inWords(seconds)}`,
    'Start a worker; the log of purge-blobs says what holds them back.',
  );
}

function inWords(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 2 * 60 * 60) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
