import Type from 'typebox';

import type { Metrics } from '../../../foundation/metrics.js';
import {
  defineJob,
  handle,
  PermanentFailure,
  type JobHandler,
  type TimetableEntry,
  timetableAttempts,
} from '../../../foundation/queue/define.js';
import { forgetDays, readToday } from './check-queries.js';
import { checkIntegrity, type IntegrityOptions } from './check.js';

/** Reads a part of the store and compares it with the rows. */
export const checkIntegrityJob = defineJob({
  name: 'check-integrity',
  payload: Type.Object({}),
  lane: 'background',
  // What was checked stays so; the next hour goes on.
  attempts: timetableAttempts,
  timeoutSeconds: 50 * 60,
});

export interface IntegrityWorkOptions extends IntegrityOptions {
  readonly metrics: Metrics;
  /** 0: the timetable checks nothing. */
  readonly bytesPerDay: number;
}

/** The integrity check as background work: every hour, so that the day's bytes are spread over the day. */
export function createIntegrityWork(options: IntegrityWorkOptions): {
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
} {
  const { db, metrics, bytesPerDay } = options;
  const checked = metrics.counter('integrity_bytes_total', 'Bytes read by the integrity check', []);
  const damagedBlobs = metrics.counter('integrity_damaged_total', 'Blobs that were not what their row says', [
    'kind',
    'blob',
  ]);

  const check = handle(checkIntegrityJob, async ({ signal, log }) => {
    const bytes = await allowance(options);
    if (bytes <= 0) return;
    const end = await checkIntegrity(options, {
      bytes,
      signal,
      onDamaged: ({ blob, kind, remedy, why }) => {
        damagedBlobs.inc({ kind, blob: blob.variant === null ? 'original' : 'variant' });
        const { projectId, fileId, variant } = blob;
        log.error({ projectId, fileId, variant, kind, remedy }, `a blob is not what its row says: ${why}`);
      },
    });
    if (end.refusal !== undefined) {
      log.error(end.refusal);
      throw new PermanentFailure(end.refusal);
    }
    checked.inc(end.bytes);
    await forgetDays(db);
    if (end.blobs > 0) log.info(end, 'blobs were compared with their rows');
  });

  return {
    handlers: [check],
    timetable:
      bytesPerDay === 0
        ? []
        : [{ name: 'check-integrity', cron: '41 * * * *', kind: checkIntegrityJob, payload: {} }],
  };
}

/** Bytes that may be read by the end of this hour and were not read yet today. */
export async function allowance({
  db,
  bytesPerDay,
}: Pick<IntegrityWorkOptions, 'db' | 'bytesPerDay'>): Promise<number> {
  const { bytes, dayOver } = await readToday(db);
  const hours = Math.floor(dayOver * 24) + 1;
  return Math.floor((bytesPerDay * hours) / 24) - bytes;
}
