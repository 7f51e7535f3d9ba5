import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import { countRows } from '../../foundation/database/count.js';
import {
  defineJob,
  type JobHandler,
  type TimetableEntry,
  timetableAttempts,
} from '../../foundation/queue/define.js';
import { recorded, type Due, type Recorder } from '../cleanup/recorded.js';
import {
  collectExpired,
  collectRemoved,
  filesWithExpired,
  filesWithVariant,
  forgetRemovedName,
  removedNames,
  type CollectableFile,
} from './collect-queries.js';

export interface CollectOptions extends Recorder {
  readonly db: Db;
  /** Seconds for which variants are kept whose name the settings no longer say. */
  readonly removedGraceSeconds: number;
  /** Most files that one run takes for each of its two purposes. */
  readonly cap: number;
}

/** Removes transformations that nobody asks for and variants that no setting names. */
export const collectVariants = defineJob({
  name: 'collect-variants',
  payload: Type.Object({}),
  lane: 'background',
  attempts: timetableAttempts,
  timeoutSeconds: 1800,
});

export const collectTimetable: TimetableEntry = {
  name: 'collect-variants',
  cron: '7 * * * *',
  kind: collectVariants,
  payload: {},
};

/** Files of one look; each is a transaction of its own. */
const batch = 200;

/** What a run would take now: files with transformations that have expired, and with variants of removed names. */
export function dueCollection({ db, removedGraceSeconds, cap }: CollectOptions): Due {
  return {
    [collectVariants.name]: async () => {
      let removed = 0;
      for (const name of await removedNames(db, removedGraceSeconds, batch))
        removed += await countRows(db, filesWithVariant(db, name), cap - removed);
      return { expired: await countRows(db, filesWithExpired(db), cap), removed };
    },
  };
}

/** What is left over goes: each file in a transaction that also buries its keys. */
export function createCollectHandler(options: CollectOptions): JobHandler {
  const { db, removedGraceSeconds, cap } = options;
  return recorded(options, collectVariants, async ({ signal, log }, count) => {
    const each = async (
      find: (limit: number) => Promise<readonly CollectableFile[]>,
      collect: (file: CollectableFile) => Promise<number>,
      budget: { files: number; rows: number },
    ): Promise<void> => {
      for (;;) {
        const limit = Math.min(batch, budget.files);
        const files = limit > 0 ? await find(limit) : [];
        let rows = 0;
        for (const file of files) {
          if (signal.aborted) return;
          rows += await collect(file);
        }
        budget.files -= files.length;
        budget.rows += rows;
        // Without progress the same files would come again: they are held, or no longer due.
        if (files.length < limit || rows === 0) return;
      }
    };

    const expired = { files: cap, rows: 0 };
    await each(
      (limit) => filesWithExpired(db).limit(limit).execute(),
      (file) => collectExpired(db, file),
      expired,
    );
    const removed = { files: cap, rows: 0 };
    for (const name of await removedNames(db, removedGraceSeconds, batch)) {
      if (signal.aborted || removed.files <= 0) break;
      await each(
        (limit) => filesWithVariant(db, name).limit(limit).execute(),
        (file) => collectRemoved(db, file, name),
        removed,
      );
      await forgetRemovedName(db, name);
    }
    count('expired', expired.rows);
    count('removed', removed.rows);
    if (expired.rows + removed.rows > 0) {
      log.info({ expired: expired.rows, removed: removed.rows }, 'variants that nobody wants are gone');
    }
  });
}
