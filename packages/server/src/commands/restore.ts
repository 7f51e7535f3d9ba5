import { stat } from 'node:fs/promises';

import type { Settings } from '../config.js';
import { BackupError } from '../features/cleanup/backup/format.js';
import { restoreBlobs, restoreRows } from '../features/cleanup/backup/restore.js';
import { liftPause } from '../features/cleanup/identity-queries.js';
import { migrations, openGround, openServer, openStore } from '../kit.js';
import { count } from './copy-progress.js';
import { openLog } from './open-log.js';

export interface RestoreCommand {
  /** The folder of the backup. */
  readonly from: string;
  /** Replaces everything that the database holds. */
  readonly force: boolean;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Restores the database, then the blobs.
 * @returns the exit code: 0, or 1 when blobs could not be put back.
 * @throws BackupError, LoadRefused, MigrationError and what the database and the store throw.
 */
export async function restoreAndEnd(settings: Settings, command: RestoreCommand): Promise<number> {
  const { from, force, print, signal } = command;
  if (!(await isFolder(from))) throw new BackupError(`There is no folder ${from}.`);
  const log = await openLog(settings);
  const server = await openServer(settings, log);
  try {
    const { madeAt, tables, blobs } = await restoreRows({ url: server.directUrl, migrations, from, force });
    const rows = tables.reduce((sum, table) => sum + table.rows, 0);
    print(`The database is that of ${madeAt}: ${count(rows)} rows of ${tables.length} tables.`);
    let failures = 0;
    if (blobs.included) {
      const store = await openStore(settings, log);
      try {
        const onFailure = (key: string, reason: string): void => print(`${key}: ${reason}`);
        const result = await restoreBlobs({ from, blobs: store, signal, onFailure });
        failures = result.failures;
        print(`Blobs put back: ${count(result.moved)}; there already: ${count(result.there)}.`);
        if (failures > 0) print(`Blobs that could not be put back: ${count(failures)}.`);
      } finally {
        await store.close();
      }
    } else print('The backup holds no blobs: the store must be that of the same time, or younger.');
    print(
      'Nothing is deleted for good until you say so. Start the server and look whether all is there; then run:',
    );
    print('  mediablobkit restore --done');
    return failures > 0 ? 1 : 0;
  } finally {
    await server.close();
  }
}

/** Ends the pause of deletions that a restore begins. */
export async function endRestore(settings: Settings, print: (line: string) => void): Promise<void> {
  const log = await openLog(settings);
  const ground = await openGround(settings, log, 'restore');
  try {
    print(
      (await liftPause(ground.database.db))
        ? 'Deletions go on.'
        : 'Deletions were not paused. There is nothing to do.',
    );
  } finally {
    await ground.close();
  }
}

async function isFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() ?? false;
}
