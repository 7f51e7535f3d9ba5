import { Cron } from 'croner';
import { sql } from 'kysely';

import type { Db } from '../database/connect.js';
import type { Log } from '../log.js';
import type { TimetableEntry } from './define.js';
import { enqueue } from './enqueue.js';
import { createOutage } from './outage.js';
import { repeat } from './repeat.js';

export interface TimetableOptions {
  readonly db: Db;
  readonly entries: readonly TimetableEntry[];
  readonly log: Log;
  /** How often the due times are looked at; default 1,000. */
  readonly pollMs?: number | undefined;
}

export interface TimetableRunner {
  start(): void;
  /** Resolves when nothing of it is under way any more. */
  stop(): Promise<void>;
}

/**
 * Enqueues jobs at the times of cron lines, once in the whole installation however many processes run it: the
 * entry's row is taken with SKIP LOCKED, and the job and the next time are written in one transaction. No session
 * holds a lock, so it works behind a transaction pooler. Times that passed while nobody ran are made up for once.
 * @throws Error when a cron line cannot be read, or two entries have one name.
 */
export function createTimetable(options: TimetableOptions): TimetableRunner {
  const { db, log } = options;
  const entries = new Map(options.entries.map((entry) => [entry.name, entry]));
  if (entries.size < options.entries.length)
    throw new Error('two entries of the timetable have the same name');
  for (const entry of entries.values()) nextRun(entry, new Date());
  const outage = createOutage(log);
  const pollMs = options.pollMs ?? 1_000;
  let registered = false;

  async function tick(): Promise<void> {
    try {
      if (!registered) await register(db, [...entries.values()]);
      registered = true;
      for (const name of await enqueueDue(db, entries))
        log.info({ entry: name }, 'enqueued by the timetable');
      outage.succeeded();
    } catch (error) {
      outage.failed(error);
    }
  }

  const ticking = repeat(tick, () => pollMs);
  return {
    start() {
      if (entries.size > 0) ticking.start(0);
    },
    stop: () => ticking.stop(),
  };
}

/** Writes down the first time of new entries, and the next one of those whose cron line has changed. */
async function register(db: Db, entries: readonly TimetableEntry[]): Promise<void> {
  const now = await databaseTime(db);
  for (const entry of entries) {
    await sql`
      INSERT INTO timetable AS present (name, cron, next_run_at)
      VALUES (${entry.name}, ${entry.cron}, ${nextRun(entry, now)})
      ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, next_run_at = excluded.next_run_at
      WHERE present.cron <> excluded.cron
    `.execute(db);
  }
}

/** @returns names of the entries that were due and that nobody else was just handling. */
async function enqueueDue(db: Db, entries: ReadonlyMap<string, TimetableEntry>): Promise<string[]> {
  return db.transaction().execute(async (tx) => {
    const { rows } = await sql<{ name: string; now: Date }>`
      SELECT name, now() AS now FROM timetable
      WHERE next_run_at <= now() AND name = ANY (${[...entries.keys()]}::text[])
      ORDER BY name FOR UPDATE SKIP LOCKED
    `.execute(tx);
    const names: string[] = [];
    for (const { name, now } of rows) {
      const entry = entries.get(name);
      if (!entry) continue;
      // A run that still waits is not joined by a second one.
      await enqueue(tx, entry.kind, entry.payload, { dedupeKey: `timetable:${name}` });
      await sql`
        UPDATE timetable SET last_run_at = now(), next_run_at = ${nextRun(entry, now)} WHERE name = ${name}
      `.execute(tx);
      names.push(name);
    }
    return names;
  });
}

async function databaseTime(db: Db): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`SELECT now() AS now`.execute(db);
  const [row] = rows;
  if (!row) throw new Error('the database did not tell the time');
  return row.now;
}

function nextRun(entry: TimetableEntry, after: Date): Date {
  const next = new Cron(entry.cron, { timezone: 'UTC', paused: true }).nextRun(after);
  if (!next) throw new Error(`the timetable's entry "${entry.name}" is never due: ${entry.cron}`);
  return next;
}
