import Type from 'typebox';

import { defineJob, timetableAttempts } from '../../../foundation/queue/define.js';

/** Fetches a file from a URL. What to fetch stands in the row of the import, so that no queue keeps its secrets. */
export const importFileJob = defineJob({
  name: 'import-file',
  payload: Type.Object({ importId: Type.String() }),
  lane: 'normal',
  attempts: 5,
  // An attempt has a limit of its own (MBK_IMPORT_TIMEOUT, a day at most), after which it is not repeated.
  timeoutSeconds: 25 * 60 * 60,
});

/** Forgets imports that ended long ago, and enqueues those anew whose job is gone. */
export const tidyImportsJob = defineJob({
  name: 'tidy-imports',
  payload: Type.Object({}),
  lane: 'background',
  attempts: timetableAttempts,
  timeoutSeconds: 600,
});
