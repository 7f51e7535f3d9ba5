import type { Settings } from '../config.js';
import { adoptStore } from '../features/cleanup/store-identity.js';
import { openGround, openStore } from '../kit.js';
import { openLog } from './open-log.js';

/** Makes the store the present database's, so that its deletions count there. */
export async function adoptAndEnd(settings: Settings, print: (line: string) => void): Promise<void> {
  const log = await openLog(settings);
  const ground = await openGround(settings, log, 'storage adopt');
  try {
    const blobs = await openStore(settings, log);
    try {
      const { id, before } = await adoptStore({ db: ground.database.db, blobs });
      const was = before === undefined ? 'It bore no mark.' : `It was that of ${before}.`;
      print(
        before === id
          ? `The store already is that of this installation (${id}).`
          : `The store is now that of this installation (${id}). ${was}`,
      );
    } finally {
      await blobs.close();
    }
  } finally {
    await ground.close();
  }
}
