import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import {
  readIdentity,
  unreadable,
  writeFirstIdentity,
  writeIdentity,
} from '../../foundation/blobs/identity.js';
import type { Db } from '../../foundation/database/connect.js';
import {
  ensureInstallation,
  findInstallation,
  liftPause,
  noteMarked,
  type Installation,
} from './identity-queries.js';

/** The two that must belong together before anything is deleted: rows say what is worthless in the store. */
export interface Pair {
  readonly db: Db;
  readonly blobs: BlobStore;
}

/**
 * Marks the store as this database's at the first start of an installation. A mark that is there is never
 * replaced, and one that was written and is gone is never written again: the store may be another one.
 * @returns why nothing may be deleted, as sentences for a person; undefined when database and store belong together.
 */
export async function claimStore({ db, blobs }: Pair): Promise<string | undefined> {
  const installation = await ensureInstallation(db);
  if (!installation.marked && (await readIdentity(blobs)) === undefined) {
    await writeFirstIdentity(blobs, installation.id);
  }
  // Read back: another installation that starts for the first time at the same moment may have been faster.
  const found = await readIdentity(blobs);
  if (found === installation.id && !installation.marked) await noteMarked(db);
  return judge(installation, found);
}

/**
 * Asks again, writing nothing: the store may have been exchanged, or adopted, since the start.
 * @returns what `claimStore` returns.
 * @throws StoreUnavailable
 */
export async function storeFault({ db, blobs }: Pair): Promise<string | undefined> {
  return judge(await findInstallation(db), await readIdentity(blobs));
}

/**
 * Why the store cannot be judged by this database: it is another's, or nobody's. A pause of deletions is no reason: after a
 * restore looking is what is wanted.
 * @throws StoreUnavailable
 */
export async function foreignStore({ db, blobs }: Pair): Promise<string | undefined> {
  return markFault(await findInstallation(db), await readIdentity(blobs));
}

/**
 * Makes the store this database's, whoever's it was. Everything that this database has buried is deleted there
 * from now on, and the database whose it was deletes nothing there any more. The pause after a restore ends.
 * @returns the ids: now, and before (undefined when the store bore no mark).
 */
export async function adoptStore({ db, blobs }: Pair): Promise<{
  readonly id: string;
  readonly before: string | undefined;
}> {
  const { id } = await ensureInstallation(db);
  const before = await readIdentity(blobs);
  if (before !== id) await writeIdentity(blobs, id);
  await noteMarked(db);
  await liftPause(db);
  return { id, before };
}

const remedy =
  'Nothing is deleted from it. Check DATABASE_URL and the settings of the store; if they are right, run: ' +
  'mediablobkit storage adopt';

/** Why nothing may be deleted since a backup was restored; undefined when there is no pause. */
export async function pauseReason(db: Db): Promise<string | undefined> {
  return pauseOf(await findInstallation(db));
}

function pauseOf(installation: Installation | undefined): string | undefined {
  const since = installation?.deletionsPausedAt;
  if (!since) return undefined;
  return (
    `A backup was restored (${since.toISOString()}): nothing is deleted for good until you have looked. ` +
    'If all is there, run: mediablobkit restore --done'
  );
}

function judge(installation: Installation | undefined, found: string | undefined): string | undefined {
  return markFault(installation, found) ?? pauseOf(installation);
}

function markFault(installation: Installation | undefined, found: string | undefined): string | undefined {
  if (found !== undefined && found === installation?.id) return undefined;
  if (found === undefined) {
    // A database that has never marked a store has nothing that could be missing.
    if (!installation?.marked) return undefined;
    return `The store does not bear the mark of this installation (${installation.id}) any more: it may be another one. ${remedy}`;
  }
  const owner =
    found === unreadable ? 'a mark that cannot be read' : `the mark of another installation (${found})`;
  return `The store bears ${owner}, this database is ${installation?.id ?? 'a new one'}. ${remedy}`;
}
