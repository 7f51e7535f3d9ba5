import Type from 'typebox';

import type { Metrics } from '../../../foundation/metrics.js';
import {
  defineJob,
  handle,
  PermanentFailure,
  type JobHandler,
  type TimetableEntry,
} from '../../../foundation/queue/define.js';
import { remainingOf, sweepStore, type SweepOptions } from './sweep.js';
import type { SweepRow } from './state-queries.js';

/** Compares the store with the rows. */
export const sweepBlobs = defineJob({
  name: 'sweep-blobs',
  payload: Type.Object({ mode: Type.Enum(['report', 'delete']) }),
  lane: 'background',
  // A later attempt goes on where the earlier one was: of these a store that is away for a night needs some.
  attempts: 8,
  // Ten million keys at 1,000 a second.
  timeoutSeconds: 3 * 60 * 60,
});

export interface SweepWorkOptions extends SweepOptions {
  readonly metrics: Metrics;
  /** What the timetable does. */
  readonly policy: 'off' | 'report' | 'delete';
}

/** The sweep as background work, daily at a quiet hour of the night. */
export function createSweepWork(options: SweepWorkOptions): {
  readonly handlers: readonly JobHandler[];
  readonly timetable: readonly TimetableEntry[];
} {
  const { metrics, policy } = options;
  const found = metrics.counter('sweep_findings_total', 'Findings of finished sweeps', ['kind']);
  const done = metrics.counter('sweep_blobs_total', 'What sweeps have done with blobs', ['done']);
  const runs = metrics.counter('sweeps_total', 'Sweeps by how they ended', ['end']);

  const count = (sweep: SweepRow): void => {
    found.inc({ kind: 'orphan' }, sweep.orphans);
    found.inc({ kind: 'missing' }, sweep.missing);
    found.inc({ kind: 'foreign' }, sweep.foreign_objects);
    found.inc({ kind: 'unfinished' }, sweep.unfinished_puts);
    for (const name of ['quarantined', 'restored', 'removed', 'mended', 'failures'] as const) {
      done.inc({ done: name }, sweep[name]);
    }
  };

  const sweep = handle(sweepBlobs, async ({ id, payload, signal, log }) => {
    const end = await sweepStore(options, { mode: payload.mode, holder: id, signal });
    switch (end.kind) {
      case 'held':
        // Another attempt, or a person: it is tried again once that one must be over or dead.
        throw new Error(`another sweep is under way, at least until ${end.until.toISOString()}`);
      case 'refused':
        runs.inc({ end: 'refused' });
        log.error(end.why);
        throw new PermanentFailure(end.why);
      case 'finished': {
        runs.inc({ end: end.sweep.refusal === null ? 'finished' : 'braked' });
        count(end.sweep);
        const remaining = remainingOf(end.sweep);
        if (end.sweep.refusal !== null) log.error(end.sweep.refusal);
        log[remaining > 0 ? 'warn' : 'info']({ ...numbersOf(end.sweep), remaining }, 'the store was swept');
      }
    }
  });

  return {
    handlers: [sweep],
    timetable:
      policy === 'off'
        ? []
        : [{ name: 'sweep-blobs', cron: '23 2 * * *', kind: sweepBlobs, payload: { mode: policy } }],
  };
}

/** What a sweep has seen, found and done; for logs and programs. */
export function numbersOf(sweep: SweepRow) {
  return {
    mode: sweep.mode,
    blobs: sweep.blobs_seen,
    bytes: sweep.bytes_seen,
    rows: sweep.rows_seen,
    orphans: sweep.orphans,
    orphanBytes: sweep.orphan_bytes,
    missing: sweep.missing,
    foreign: sweep.foreign_objects,
    unfinished: sweep.unfinished_puts,
    quarantined: sweep.quarantined,
    dropped: sweep.dropped_puts,
    restored: sweep.restored,
    removed: sweep.removed,
    mended: sweep.mended,
    failures: sweep.failures,
  };
}
