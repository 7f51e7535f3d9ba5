import { ConfigError, type Settings } from '../config.js';
import { createCleanup } from '../features/cleanup/cleanup.js';
import { inTransaction } from '../features/projects/queries.js';
import { createCollectHandler } from '../features/variants/collect.js';
import { newId } from '../foundation/ids.js';
import { createLog } from '../foundation/log.js';
import type { JobHandler } from '../foundation/queue/define.js';
import { openGround, openStore } from '../kit.js';
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

/** Runs jobs of the timetable once, in this process. */
function ordinary(...kinds: readonly string[]): Cleaner {
  return {
    options: [],
    async run({ settings, db, blobs, log, command: { signal, print } }) {
      const { handlers } = createCleanup({
        db,
        blobs,
        log,
        uploadStaleSeconds: settings.uploadStaleMs / 1000,
        uploadExpirySeconds: settings.uploadExpiryMs / 1000,
        trashSeconds: settings.trashDays * 24 * 60 * 60,
      });
      const collect = createCollectHandler({ db, removedGraceSeconds: settings.variantGraceMs / 1000 });
      const all: readonly JobHandler[] = [...handlers, collect];
      for (const name of kinds) {
        const handler = all.find(({ kind }) => kind.name === name);
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
        print(`${name}: done`);
      }
      return 0;
    },
  };
}
