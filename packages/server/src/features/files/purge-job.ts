import Type from 'typebox';

import { defineJob } from '../../foundation/queue/define.js';

/**
 * Deletes the blobs of buried keys that are due. Enqueued by every burial and each minute by the timetable;
 * one waiting job is enough for any number of burials.
 */
export const purgeBlobs = defineJob({
  name: 'purge-blobs',
  payload: Type.Object({}),
  lane: 'background',
  // A key that cannot be deleted is tried again for ever by the timetable; the job itself has little to repeat.
  attempts: 3,
  timeoutSeconds: 300,
});
