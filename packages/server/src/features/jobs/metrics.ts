import type { Db } from '../../foundation/database/connect.js';
import type { Metrics } from '../../foundation/metrics.js';
import { lanes } from '../../foundation/queue/define.js';
import { oldestWaitingAge, queueDepth } from '../../foundation/queue/observe.js';
import { blobDeletions, cleanupRuns } from './queries.js';

/**
 * What whoever is on call watches: the queue, blobs on their way out, and the timetable. Looked up in the database when
 * somebody collects, so that any API process tells it, whichever worker did the work.
 */
export function watchWork({ db, metrics }: { readonly db: Db; readonly metrics: Metrics }): void {
  metrics.gauge('jobs', 'Jobs by kind and state.', ['kind', 'state'], async () =>
    (await queueDepth(db)).map(({ kind, state, count }) => ({ labels: { kind, state }, value: count })),
  );
  metrics.gauge(
    'oldest_waiting_job_seconds',
    'Since when the longest-waiting job of a lane could have run. Grows when workers are missing.',
    ['lane'],
    async () => {
      const ages = await oldestWaitingAge(db);
      return lanes.map((lane) => ({ labels: { lane }, value: ages[lane] }));
    },
  );
  metrics.gauge(
    'blob_deletions',
    'Blobs on their way out of the store; `failing`: those that the store has refused to delete.',
    ['state'],
    async () => {
      const { waiting, failing } = await blobDeletions(db);
      return [
        { labels: { state: 'waiting' }, value: waiting },
        { labels: { state: 'failing' }, value: failing },
      ];
    },
  );
  metrics.gauge(
    'oldest_blob_deletion_seconds',
    'How long the oldest blob is on its way out; alert above an hour.',
    [],
    async () => {
      const { oldestAt } = await blobDeletions(db);
      return [{ labels: {}, value: oldestAt ? Math.max(0, (Date.now() - oldestAt.getTime()) / 1000) : 0 }];
    },
  );
  const ofRuns = (
    name: string,
    help: string,
    value: (run: Awaited<ReturnType<typeof cleanupRuns>>[number]) => number,
  ) =>
    metrics.gauge(name, help, ['what'], async () =>
      (await cleanupRuns(db)).map((run) => ({ labels: { what: run.name }, value: value(run) })),
    );
  ofRuns('cleanup_runs', 'Runs of a line of the timetable.', ({ runs }) => runs);
  ofRuns('cleanup_failures', 'Runs of a line of the timetable that failed.', ({ failures }) => failures);
  ofRuns(
    'cleanup_last_run_timestamp_seconds',
    'When a line of the timetable ran last.',
    ({ last_run_at: at }) => (at ? at.getTime() / 1000 : 0),
  );
  metrics.gauge(
    'cleanup_items',
    'What the lines of the timetable have removed, repaired or found.',
    ['what', 'item'],
    async () =>
      (await cleanupRuns(db)).flatMap(({ name, counts }) =>
        Object.entries((counts ?? {}) as Record<string, number>).map(([item, value]) => ({
          labels: { what: name, item },
          value,
        })),
      ),
  );
}
