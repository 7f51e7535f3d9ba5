import type { Settings } from '../config.js';
import { openGround } from '../kit.js';
import { openLog } from './open-log.js';

/** Brings the schema up to date and ends; `start`, `api` and `worker` do the same before they serve. */
export async function migrateAndEnd(settings: Settings, print: (line: string) => void): Promise<void> {
  const log = await openLog(settings);
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
