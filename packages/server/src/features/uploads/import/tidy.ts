import type { Db } from '../../../foundation/database/connect.js';
import { handle, type JobHandler, type TimetableEntry } from '../../../foundation/queue/define.js';
import { enqueueMany } from '../../../foundation/queue/enqueue.js';
import { inTransaction } from '../../projects/queries.js';
import { importFileJob, tidyImportsJob } from './job.js';
import { findStillImports, forgetImports } from './tidy-queries.js';

export const importTimetable: TimetableEntry = {
  name: 'tidy-imports',
  cron: '7 * * * *',
  kind: tidyImportsJob,
  payload: {},
};

/** Long enough to look up what became of an import; as long as finished jobs are kept. */
const keptSeconds = 7 * 24 * 60 * 60;
/** An import that runs is written once a second, and one between two attempts waits for minutes. */
const stillSeconds = 60 * 60;
const batch = 5_000;

/**
 * Forgets imports that ended a week ago. Those that have not moved for an hour are enqueued anew, should their job be
 * gone (cancelled by a person, say); of a job that only waits in a long queue there is no second one.
 */
export function createTidyHandler({ db }: { readonly db: Db }): JobHandler {
  return handle(tidyImportsJob, async ({ signal, log }) => {
    while (!signal.aborted && (await forgetImports(db, keptSeconds, batch)) >= batch);
    const still = await findStillImports(db, stillSeconds, batch);
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
    if (revived > 0) log.warn({ imports: revived }, 'enqueued imports anew whose jobs were gone');
  });
}
