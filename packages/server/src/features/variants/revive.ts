import type { Db } from '../../foundation/database/connect.js';
import { handle, type JobHandler, type TimetableEntry } from '../../foundation/queue/define.js';
import { enqueueMany } from '../../foundation/queue/enqueue.js';
import { abandonedSeconds } from './claim.js';
import { renderVariants, reviveVariants } from './job.js';
import { configOf } from './plan.js';
import { findStuck } from './queries.js';

/** Files looked at in one run; more wait for the next. */
const batch = 500;

export const reviveTimetable: TimetableEntry = {
  name: 'revive-variants',
  cron: '*/5 * * * *',
  kind: reviveVariants,
  payload: {},
};

/**
 * Plans anew what has waited or been held for so long that its job must be gone: cancelled by a person, or lost
 * with its last act. What only waits in a long queue is planned twice, which costs the second job one query.
 */
export function createReviveHandler({ db }: { readonly db: Db }): JobHandler {
  return handle(reviveVariants, async ({ log }) => {
    const stuck = await findStuck(db, abandonedSeconds, batch);
    await db.transaction().execute((tx) =>
      enqueueMany(
        tx,
        renderVariants,
        stuck.map(({ fileId, projectId, variants }) => ({
          payload: { fileId, variantsConfig: configOf(variants) },
          projectId,
          lane: 'background',
          dedupeKey: `${fileId}:revive`,
        })),
      ),
    );
    if (stuck.length > 0) log.warn({ files: stuck.length }, 'planned variants anew whose jobs were gone');
  });
}
