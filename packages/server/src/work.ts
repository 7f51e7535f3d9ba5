import { hostname } from 'node:os';

import { assertHandlers } from './foundation/queue/handlers.js';
import { createRunner } from './foundation/queue/runner.js';
import { createTimetable } from './foundation/queue/timetable.js';
import { buildWork, type Kit } from './kit.js';

/** Opens the door to background work: hands every room's jobs and timetable to the queue. */
export async function openWork(kit: Kit): Promise<void> {
  const { settings, log, database, directUrl } = kit;
  const { kinds, handlers, timetable, atMost } = await buildWork(kit);
  assertHandlers(kinds, handlers);
  const runner = createRunner({
    db: database.db,
    handlers,
    concurrency: settings.jobConcurrency,
    atMost,
    name: `${hostname()}/${process.pid}`,
    listenUrl: directUrl,
    leaseSeconds: settings.jobLeaseMs / 1000,
    log,
  });
  kit.openedDoor(() => runner.stop({ drainMs: settings.shutdownTimeoutMs }));
  runner.start();
  const clockwork = createTimetable({ db: database.db, entries: timetable, log });
  kit.openedDoor(() => clockwork.stop());
  clockwork.start();
}
