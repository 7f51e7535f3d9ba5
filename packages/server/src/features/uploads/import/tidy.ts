import type { Db } from '../../../foundation/database/connect.js';
import { countRows } from '../../../foundation/database/count.js';
import type { JobHandler, TimetableEntry } from '../../../foundation/queue/define.js';
import { enqueueMany } from '../../../foundation/queue/enqueue.js';
import { inBatches } from '../../cleanup/batches.js';
import { recorded, type Due, type Recorder } from '../../cleanup/recorded.js';
import { inTransaction } from '../../projects/queries.js';
import { importFileJob, tidyImportsJob } from './job.js';
import { endedImports, forgetImports, stillImports } from './tidy-queries.js';

export const importTimetable: TimetableEntry = {
  name: 'tidy-imports',
  cron: '7 * * * *',
  kind: tidyImportsJob,
  payload: {},
};

export interface TidyOptions extends Recorder {
  readonly db: Db;
  /** Seconds for which imports that are over can be looked up. */
  readonly importsSeconds: number;
  /** Most imports that one run takes. */
  readonly cap: number;
}

/** An import that runs is written once a second, and one between two attempts waits for minutes. */
const stillSeconds = 60 * 60;
const batch = 5_000;

/** What a run would take now. */
export function dueImports({ db, importsSeconds, cap }: TidyOptions): Due {
  return {
    [tidyImportsJob.name]: async () => ({
      imports: await countRows(db, endedImports(db, importsSeconds), cap),
      revived: await countRows(db, stillImports(db, stillSeconds), batch),
    }),
  };
}

/**
 * Forgets imports that ended long ago. Those that have not moved for an hour are enqueued anew, should their job be
 * gone (cancelled by a person, say); of a job that only waits in a long queue there is no second one.
 */
export function createTidyHandler(options: TidyOptions): JobHandler {
  const { db, importsSeconds, cap } = options;
  return recorded(options, tidyImportsJob, async ({ signal, log }, count) => {
    await inBatches(
      { signal, batch, cap },
      (limit) => forgetImports(db, importsSeconds, limit),
      (rows) => count('imports', rows),
    );
    const still = await stillImports(db, stillSeconds).limit(batch).execute();
    const added = await inTransaction(db, (tx) =>
      enqueueMany(
        tx,
        importFileJob,
        still.map(({ id, project_id: projectId }) => ({
          payload: { importId: id },
          projectId,
          dedupeKey: id,
        })),
      ),
    );
    const revived = added.filter((id) => id !== undefined).length;
    count('revived', revived);
    if (revived > 0) log.warn({ imports: revived }, 'enqueued imports anew whose jobs were gone');
  });
}
