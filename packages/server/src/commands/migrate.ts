import type { Settings } from '../config.js';
import { createLog } from '../foundation/log.js';
import { openGround } from '../kit.js';

/** Brings the schema up to date and ends; `start`, `api` and `worker` do the same before they serve. */
export async function migrateAndEnd(settings: Settings, print: (line: string) => void): Promise<void> {
  const log = await createLog({ level: settings.logLevel, pretty: true });
  const ground = await openGround(settings, log, 'migrate');
  try {
    print(
      ground.migrated.length === 0
        ? 'The schema is up to date.'
        : `Applied ${ground.migrated.join(', ')}. The schema is up to date.`,
    );
  } finally {
    await ground.close();
  }
}
