import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import { countRows } from '../../foundation/database/count.js';
import {
  defineJob,
  type JobHandler,
  type TimetableEntry,
  timetableAttempts,
} from '../../foundation/queue/define.js';
import { inTransaction } from '../projects/queries.js';
import { claimExpiredProject, expiredProjects, purgedProjects } from './projects/queries.js';
import { orderPurge } from './projects/purge-job.js';
import { recorded, type Counts, type Recorder } from './recorded.js';
import { pauseReason } from './store-identity.js';
import { expiredTrash, purgeFiles } from './trash-queries.js';

export interface TrashOptions {
  readonly db: Db;
  readonly onRun?: Recorder['onRun'];
  /** Seconds for which what is in the trash can be restored. */
  readonly trashSeconds: number;
  /** Seconds within which an attempt that is under way may still be writing its key. */
  readonly againAfter: number;
  /** Most files of one run. */
  readonly cap: number;
}

export interface TrashRun {
  readonly files: number;
  readonly projects: number;
}

/** Removes for good what has been in the trash for too long. */
export const purgeTrashJob = defineJob({
  name: 'purge-trash',
  payload: Type.Object({}),
  lane: 'background',
  attempts: timetableAttempts,
  timeoutSeconds: 1800,
});

export const trashTimetable: TimetableEntry = {
  name: 'purge-trash',
  cron: '12 * * * *',
  kind: purgeTrashJob,
  payload: {},
};

/** Files of one transaction. */
const batch = 100;
/** Projects of one run; each has a job of its own. */
const projectsOfRun = 100;

export function createTrashHandler(options: TrashOptions): JobHandler {
  return recorded(options, purgeTrashJob, async ({ signal, log }, count) => {
    const pause = await pauseReason(options.db);
    if (pause !== undefined) return log.warn(pause);
    const { files, projects } = await purgeTrash(options, signal);
    count('files', files);
    count('projects', projects);
    if (files + projects > 0) log.info({ files, projects }, 'what was in the trash for long is gone');
  });
}

/** What a run would take now. */
export async function dueTrash({ db, trashSeconds, cap }: TrashOptions): Promise<Counts> {
  return {
    files: await countRows(db, expiredTrash(db, trashSeconds), cap),
    projects: await countRows(db, expiredProjects(db, trashSeconds), projectsOfRun),
  };
}

/** Empties the trash of what has been in it for too long; projects are handed to their own jobs. */
export async function purgeTrash(
  { db, trashSeconds, againAfter, cap }: TrashOptions,
  signal: AbortSignal,
): Promise<TrashRun> {
  let projects = 0;
  for (const { id } of await expiredProjects(db, trashSeconds).limit(projectsOfRun).execute()) {
    const claimed = await inTransaction(db, async (tx) => {
      if (!(await claimExpiredProject(tx, id, trashSeconds))) return false;
      await orderPurge(tx, id);
      return true;
    });
    if (claimed) projects += 1;
  }
  // A removal whose job is lost, or dead after many failures, begins anew.
  for (const id of await purgedProjects(db, projectsOfRun)) {
    await inTransaction(db, (tx) => orderPurge(tx, id));
  }
  let files = 0;
  while (files < cap && !signal.aborted) {
    const due = await expiredTrash(db, trashSeconds)
      .limit(Math.min(batch, cap - files))
      .execute();
    if (due.length === 0) break;
    let gone = 0;
    // The counters in one order for everybody who books several.
    for (const projectId of [...new Set(due.map((file) => file.projectId))].sort()) {
      const ids = due.filter((file) => file.projectId === projectId).map(({ id }) => id);
      const purged = await inTransaction(db, (tx) =>
        purgeFiles(tx, projectId, ids, { trashedForSeconds: trashSeconds, againAfter }),
      );
      gone += purged.length;
    }
    files += gone;
    // All of them were restored, or purged by somebody else, in this very moment.
    if (gone === 0) break;
  }
  return { files, projects };
}
