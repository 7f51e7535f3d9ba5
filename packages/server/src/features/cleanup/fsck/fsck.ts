import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import type { Db } from '../../../foundation/database/connect.js';
import { inTransaction } from '../../projects/queries.js';
import { noteDamage, type Remedies } from '../integrity/damage.js';
import { foreignStore } from '../store-identity.js';
import { wrongBlobs, wrongBytes, type WrongBlob } from './blobs.js';
import { rowChecks, type CheckName, type RowCheck, type RowCheckName } from './checks.js';
import type { Bounds, Wrong } from './row-queries.js';

export interface FsckOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly bounds: Bounds;
  /** Seconds that a blob without a row must have lain unchanged. */
  readonly graceSeconds: number;
  readonly remedies: Remedies;
}

export interface FsckOrder {
  /** Also read all bytes. */
  readonly deep: boolean;
  /** Do what is safe about what is found. */
  readonly repair: boolean;
  readonly signal: AbortSignal;
  /** Told each violation as it is found. */
  readonly onViolation: (violation: Violation) => void;
}

/** Something that must not be. */
export interface Violation extends Wrong {
  readonly check: CheckName;
  /** It has been repaired. */
  readonly repaired: boolean;
}

export interface FsckEnd {
  readonly found: number;
  readonly repaired: number;
}

/** The database and the store do not belong together, so nothing could be judged. */
export class FsckRefused extends Error {
  override readonly name = 'FsckRefused';
}

/**
 * Checks what must hold between rows, and between rows and store. Beside a running server too: what is found is looked at
 * a second time where traffic could have shown it, and what is under way has its bounds.
 * @throws FsckRefused, StoreUnavailable, or the signal's reason.
 */
export async function fsck(options: FsckOptions, order: FsckOrder): Promise<FsckEnd> {
  const fault = await foreignStore(options);
  if (fault !== undefined) throw new FsckRefused(fault);
  let found = 0;
  let repaired = 0;
  const tell = async (check: CheckName, wrong: Wrong, mend: (() => Promise<boolean>) | undefined) => {
    const done = order.repair && mend !== undefined ? await mend() : false;
    found += 1;
    if (done) repaired += 1;
    const { subject, projectId, detail } = wrong;
    order.onViolation({ check, subject, projectId, detail, repaired: done });
  };
  for (const [name, check] of Object.entries(rowChecks) as [RowCheckName, RowCheck][]) {
    order.signal.throwIfAborted();
    for (const wrong of await check.find(options.db, options.bounds)) {
      await tell(name, wrong, mendOf(options, name, check, wrong));
    }
  }
  const store = { ...options, signal: order.signal };
  for await (const wrong of wrongBlobs(store)) await tell(wrong.check, wrong, remedyOf(options, wrong));
  if (order.deep) {
    for await (const wrong of wrongBytes(store)) await tell(wrong.check, wrong, undefined);
  }
  return { found, repaired };
}

function mendOf(
  { db, remedies }: FsckOptions,
  name: RowCheckName,
  check: RowCheck,
  wrong: Wrong,
): (() => Promise<boolean>) | undefined {
  if (name === 'render-lost') {
    const [fileId = '', variant = ''] = wrong.subject.split('/', 2);
    const projectId = wrong.projectId ?? '';
    return () => inTransaction(db, (tx) => remedies.renderAgain(tx, { projectId, fileId, name: variant }));
  }
  const { mend } = check;
  return mend && (() => mend(db, wrong));
}

/** A variant is rendered again; of an original that is lost the row is told, which is no repair. */
function remedyOf(
  { db, remedies }: FsckOptions,
  { check, subject: key, projectId, fileId, variant }: WrongBlob,
): (() => Promise<boolean>) | undefined {
  if (projectId === null || fileId === undefined || fileId === null || variant === undefined)
    return undefined;
  const kind = check === 'blob-missing' ? 'missing' : 'corrupt';
  return async () => (await noteDamage(db, remedies, { key, projectId, fileId, variant }, kind)) === 'mended';
}
