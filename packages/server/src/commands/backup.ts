import type { Settings } from '../config.js';
import { makeBackup } from '../features/cleanup/backup/backup.js';
import { migrations, openGround, openStore, storeAddress } from '../kit.js';
import { version } from '../version.js';
import { count, size } from './copy-progress.js';
import { openLog } from './open-log.js';

export interface BackupCommand {
  /** A folder that is not there yet. */
  readonly to: string;
  /** Takes the blobs along. */
  readonly blobs: boolean;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Writes a backup, beside running servers. @throws BackupError and what the database and the store throw. */
export async function backupAndEnd(settings: Settings, command: BackupCommand): Promise<void> {
  const { to, print, signal } = command;
  const log = await openLog(settings);
  const ground = await openGround(settings, log, 'backup');
  try {
    const store = command.blobs ? await openStore(settings, log) : undefined;
    try {
      const address = storeAddress(settings);
      const { tables, blobs } = await makeBackup({
        db: ground.database.db,
        url: ground.directUrl,
        migrations,
        to,
        blobs: store,
        storeFolder: address.backend === 'disk' ? address.folder : undefined,
        program: version,
        signal,
        onFailure: (key, reason) => print(`${key}: ${reason}`),
      });
      const rows = tables.reduce((sum, table) => sum + table.rows, 0);
      print(`The backup is in ${to}: ${count(rows)} rows of ${tables.length} tables.`);
      print(
        blobs.included
          ? `It holds ${count(blobs.count)} blobs (${size(blobs.bytes)}), each verified.`
          : `It names ${count(blobs.count)} blobs (${size(blobs.bytes)}) and does not hold them: copy the store after it.`,
      );
    } finally {
      await store?.close();
    }
  } finally {
    await ground.close();
  }
}
