import { ConfigError, type Settings } from '../config.js';
import { createCleanup } from '../features/cleanup/cleanup.js';
import { inTransaction } from '../features/projects/queries.js';
import type { Counts, Due, Recorder } from '../features/cleanup/recorded.js';
import { pauseReason, storeFault } from '../features/cleanup/store-identity.js';
import { createTidyHandler, dueImports } from '../features/uploads/import/tidy.js';
import { createCollectHandler, dueCollection } from '../features/variants/collect.js';
import { newId } from '../foundation/ids.js';
import { createLog } from '../foundation/log.js';
import type { JobHandler } from '../foundation/queue/define.js';
import { openGround, openStore } from '../kit.js';
import { cleanupOptions, collectOptions, tidyOptions } from '../kit/room-options.js';
import { checkNow } from './cleanup-integrity.js';
import type { CleanupCommand, CleanupScene } from './cleanup-scene.js';
import { sweepNow } from './cleanup-sweep.js';

interface Cleaner {
  /** Options that mean something to it. */
  readonly options: readonly ('dryRun' | 'delete' | 'project' | 'bytes' | 'json')[];
  /** @returns the exit code: 0 clean, 1 findings remain, 2 could not check. */
  run(scene: CleanupScene): Promise<number>;
}

/** Everything that can be cleaned by hand, by name. */
const cleaners: Readonly<Record<string, Cleaner>> = {
  sweep: { options: ['dryRun', 'delete', 'project', 'json'], run: sweepNow },
  integrity: { options: ['bytes', 'json'], run: checkNow },
  uploads: ordinary('expire-uploads', 'remove-temporaries'),
  blobs: ordinary('purge-blobs'),
  trash: ordinary('purge-trash'),
  variants: ordinary('collect-variants'),
  events: ordinary('forget-events'),
  keys: ordinary('forget-upload-keys'),
  sessions: ordinary('expire-sessions'),
  jobs: ordinary('forget-jobs'),
  imports: ordinary('tidy-imports'),
  people: ordinary('forget-people'),
  audit: ordinary('forget-audit'),
  limits: ordinary('forget-limits'),
};

/**
 * Does now what the timetable does at its time.
 * @returns the exit code: 0 clean, 1 findings remain, 2 could not check.
 * @throws ConfigError, StoreUnavailable and the like: sentences for a person.
 */
export async function cleanupAndEnd(settings: Settings, command: CleanupCommand): Promise<number> {
  const cleaner = Object.hasOwn(cleaners, command.what) ? cleaners[command.what] : undefined;
  if (!cleaner) {
    throw new ConfigError([`There is no cleanup of ${command.what}; there is ${names()}.`]);
  }
  refuseOptions(cleaner, command);
  // Standard output is for the result.
  const log = await createLog({
    level: settings.logLevel,
    pretty: settings.logFormat === 'pretty',
    destination: { write: (line) => command.remark(line.trimEnd()) },
  });
  const ground = await openGround(settings, log, 'cleanup');
  try {
    const blobs = await openStore(settings, log);
    try {
      return await cleaner.run({ settings, db: ground.database.db, blobs, log, command });
    } catch (error) {
      if (!command.signal.aborted) throw error;
      command.remark('Interrupted. The next run goes on where this one was.');
      return 2;
    } finally {
      await blobs.close();
    }
  } finally {
    await ground.close();
  }
}

function names(): string {
  return Object.keys(cleaners).join(', ');
}

function refuseOptions({ options }: Cleaner, command: CleanupCommand): void {
  const flags = {
    dryRun: '--dry-run',
    delete: '--delete',
    project: '--project',
    bytes: '--bytes',
    json: '--json',
  };
  const faults = Object.entries(flags)
    .filter(([name]) => command[name as keyof typeof flags] !== undefined)
    .filter(([name]) => !options.includes(name as keyof typeof flags))
    .map(([, flag]) => `${flag} means nothing to the cleanup of ${command.what}.`);
  if (command.dryRun && command.delete) faults.push('--dry-run and --delete exclude each other.');
  if (faults.length > 0) throw new ConfigError(faults);
}

/** Runs jobs of the timetable once, in this process, or says what they would take. */
function ordinary(...kinds: readonly string[]): Cleaner {
  return {
    options: ['dryRun', 'json'],
    async run(scene) {
      const { command } = scene;
      let seen: Counts = {};
      const lines = linesOf(scene, ({ counts }) => {
        seen = counts;
      });
      let remaining = 0;
      for (const name of kinds) {
        if (command.dryRun === true) {
          const due = lines.due[name];
          if (due === undefined) throw new TypeError(`nobody knows what ${name} would do`);
          seen = await due();
          remaining += Object.values(seen).reduce((sum, number) => sum + number, 0);
        } else {
          await runOnce(scene, lines.handlers, name);
        }
        tell(command, name, seen);
      }
      if (command.dryRun !== true) return 0;
      // What keeps the real run from doing anything must be heard of before it.
      const refusal = (await storeFault(scene)) ?? (await pauseReason(scene.db));
      if (refusal !== undefined) command.remark(refusal);
      return remaining > 0 ? 1 : 0;
    },
  };
}

/** Every line of the timetable that `ordinary` knows. */
function linesOf({ settings, db, blobs, log }: CleanupScene, onRun: NonNullable<Recorder['onRun']>) {
  const cleanup = createCleanup({ ...cleanupOptions(settings, { db, blobs, log }), onRun });
  const collect = { db, ...collectOptions(settings), onRun };
  const tidy = { db, ...tidyOptions(settings), onRun };
  return {
    handlers: [...cleanup.handlers, createCollectHandler(collect), createTidyHandler(tidy)],
    due: { ...cleanup.due, ...dueCollection(collect), ...dueImports(tidy) } as Due,
  };
}

async function runOnce(
  { db, log, command: { signal } }: CleanupScene,
  handlers: readonly JobHandler[],
  name: string,
): Promise<void> {
  const handler = handlers.find(({ kind }) => kind.name === name);
  if (!handler) throw new TypeError(`nobody does ${name}`);
  await handler.run({
    id: newId(),
    payload: {},
    projectId: null,
    attempt: 1,
    lastAttempt: true,
    signal,
    log,
    finish: (work) => inTransaction(db, work),
  });
}

function tell({ json, dryRun, print }: CleanupCommand, name: string, counts: Counts): void {
  if (json) return print(JSON.stringify({ type: dryRun ? 'due' : 'done', name, counts }));
  const items = Object.entries(counts)
    .filter(([, number]) => number > 0)
    .map(([item, number]) => `${number.toLocaleString('en-US')} ${words(item)}`);
  print(`${name}${dryRun ? ' would take' : ''}: ${items.length > 0 ? items.join(', ') : 'nothing'}`);
}

/** `openUploads` → `open uploads`. */
function words(item: string): string {
  return item.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
