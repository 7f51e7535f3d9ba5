import type { TSchema } from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import { handle, type JobContext, type JobHandler, type JobKind } from '../../foundation/queue/define.js';
import { keepRun, type CleanupRun } from './runs-queries.js';

/** Counts what a run has removed, repaired or found. */
export type Count = (item: string, amount: number) => void;

/** How many of what. */
export type Counts = Readonly<Record<string, number>>;

/**
 * What a run of each line of the timetable would take now, by the name of its job: each number at most the cap. Reads
 * only, with the conditions of the run itself.
 */
export type Due = Readonly<Record<string, () => Promise<Counts>>>;

export interface Recorder {
  readonly db: Db;
  /** Also told of each run; for whoever waits for it. */
  readonly onRun?: ((run: CleanupRun) => void) | undefined;
}

/** The handler of a line of the timetable: how long it took, what it did and why it failed is kept for whoever watches. */
export function recorded<S extends TSchema>(
  { db, onRun = () => undefined }: Recorder,
  kind: JobKind<S>,
  run: (context: JobContext<S>, count: Count) => Promise<void>,
): JobHandler {
  return handle(kind, async (context) => {
    const began = performance.now();
    const counts: Record<string, number> = {};
    const keep = async (error?: string): Promise<void> => {
      const kept = { name: kind.name, seconds: (performance.now() - began) / 1000, counts, error };
      onRun(kept);
      await keepRun(db, kept);
    };
    try {
      await run(context, (item, amount) => {
        if (amount !== 0) counts[item] = (counts[item] ?? 0) + amount;
      });
    } catch (error) {
      // Why it failed counts more than that it could not be written down.
      await keep(firstLine(error)).catch((keepError: unknown) => {
        context.log.warn({ err: keepError }, 'a failed run could not be written down');
      });
      throw error;
    }
    await keep();
  });
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return (text.split('\n', 1)[0] ?? '').slice(0, 500);
}
