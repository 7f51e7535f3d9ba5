import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import type { Db } from '../../../foundation/database/connect.js';
import { inTransaction } from '../../projects/queries.js';
import { findInstallation } from '../identity-queries.js';
import type { Remedies } from '../integrity/damage.js';
import { foreignStore, storeFault } from '../store-identity.js';
import { brake } from './brake.js';
import { dropUnfinished, mendMissing, quarantineOrphans, type CleanOptions } from './clean.js';
import { keepFindings, type Finding, type FindingKind } from './finding-queries.js';
import { whileHeld } from './hold.js';
import { judge, projectOf, unfinishedPuts } from './judge.js';
import { adoptQuarantined } from './quarantine-queries.js';
import { removeExpired, restoreLiving } from './quarantine.js';
import { ListingUnordered, scan } from './scan.js';
import {
  advanceSweep,
  endSweep,
  findSweep,
  takeSweep,
  type Counts,
  type SweepMode,
  type SweepRow,
} from './state-queries.js';

export interface SweepOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Seconds that a blob without a row must have lain unchanged: the grace period and the backup window. */
  readonly graceSeconds: number;
  /** Seconds that a blob stays in quarantine before it is removed. */
  readonly quarantineSeconds: number;
  /** Most blobs that one sweep moves, puts that it drops, and blobs that it removes, each. */
  readonly maxDeletes: number;
  /** Percent of what is seen that may be wrong before nothing is done about it. */
  readonly brakePercent: number;
  readonly remedies: Remedies;
  /** Seconds of silence after which another process may continue; 30 when absent. */
  readonly leaseSeconds?: number;
  /** Keys between two steps that are written down; 5,000 when absent. */
  readonly batchKeys?: number;
}

export interface SweepOrder {
  readonly mode: SweepMode;
  /** Only this project's keys; the whole store when absent. */
  readonly projectId?: string;
  /** An id for whoever orders it; a job's own, so that its next attempt continues at once. */
  readonly holder: string;
  readonly signal: AbortSignal;
}

export type SweepEnd =
  | { readonly kind: 'finished'; readonly sweep: SweepRow }
  /** Another process is at it. */
  | { readonly kind: 'held'; readonly until: Date }
  /** It could not be judged; `why` is a sentence for a person. */
  | { readonly kind: 'refused'; readonly why: string };

/** Findings of a kind that are kept; of orphans at least as many as may be moved. */
const mostKept: Readonly<Record<FindingKind, number>> = {
  orphan: 10_000,
  missing: 10_000,
  foreign: 1_000,
  unfinished: 1_000,
};
const countedAs = {
  orphan: 'orphans',
  missing: 'missing',
  foreign: 'foreign_objects',
  unfinished: 'unfinished_puts',
} as const satisfies Record<FindingKind, keyof Counts>;

/**
 * Compares the store with the rows, both ways, and does about it what the mode allows. Everything is judged before
 * anything is done. A sweep that was broken off is continued behind the last key that was judged.
 * @throws StoreUnavailable, SweepLost, or the signal's reason; the sweep can be continued then.
 */
export async function sweepStore(options: SweepOptions, order: SweepOrder): Promise<SweepEnd> {
  const { db, leaseSeconds = 30 } = options;
  const { mode, projectId = null, holder } = order;
  const fault = await sweepFault(options, mode);
  if (fault !== undefined) return { kind: 'refused', why: fault };
  const taken = await takeSweep(db, { mode, projectId, holder, leaseSeconds });
  if ('heldUntil' in taken) return { kind: 'held', until: taken.heldUntil };
  return whileHeld(db, taken, { leaseSeconds, signal: order.signal }, async (signal) => {
    try {
      if (mode !== 'dry-run') await bringBack(options, taken, signal);
      if (taken.status === 'scanning') await scanAll(options, taken, signal);
    } catch (error) {
      if (!(error instanceof ListingUnordered)) throw error;
      const refusal = `Nothing was done: ${error.message}.`;
      await endSweep(db, taken, { status: 'failed', refusal });
      return { kind: 'refused', why: refusal };
    }
    const changed = await sweepFault(options, mode);
    if (changed !== undefined) {
      await endSweep(db, taken, { status: 'failed', refusal: changed });
      return { kind: 'refused', why: changed };
    }
    await cleanAll(options, taken, signal);
    return { kind: 'finished', sweep: await endSweep(db, taken, { status: 'finished' }) };
  });
}

/** Findings about which nothing could be done, or nothing was to be done. */
export function remainingOf(sweep: SweepRow): number {
  const { orphans, missing, unfinished_puts: unfinished } = sweep;
  const done = sweep.quarantined + sweep.dropped_puts + sweep.mended + sweep.vanished;
  return orphans + missing + unfinished - done;
}

/** Why the store cannot be judged by this database, or, where blobs are to go, why none may. */
async function sweepFault(
  { db, blobs }: SweepOptions,
  mode: SweepOrder['mode'],
): Promise<string | undefined> {
  const fault = mode === 'delete' ? await storeFault({ db, blobs }) : await foreignStore({ db, blobs });
  if (fault !== undefined) return fault;
  if ((await findInstallation(db))?.marked) return undefined;
  return 'The store bears no mark of this installation, which has never been started. Start the server once, or run: mediablobkit storage adopt';
}

async function bringBack(options: SweepOptions, sweep: SweepRow, signal: AbortSignal): Promise<void> {
  const { restored, failures } = await restoreLiving({ ...options, signal });
  await advanceSweep(options.db, sweep, { counts: { restored, failures } });
}

async function scanAll(options: SweepOptions, taken: SweepRow, signal: AbortSignal): Promise<void> {
  const { db, batchKeys = 5_000 } = options;
  let sweep = taken;
  const { project_id: projectId, position } = sweep;
  for await (const batch of scan({ ...options, projectId, position, batchKeys })) {
    signal.throwIfAborted();
    const { findings, strays } = await judge(options, batch);
    if (sweep.mode !== 'dry-run') {
      await adoptQuarantined(
        db,
        strays.map(({ key, size, lastModified }) => ({
          key,
          size,
          projectId: projectOf(key),
          modifiedAt: lastModified,
        })),
      );
    }
    const seen = { blobs_seen: batch.blobs, bytes_seen: batch.bytes, rows_seen: batch.rows };
    sweep = await note(options, sweep, findings, { counts: seen, position: batch.position });
  }
  // In one piece with the step to the next state, so that none is counted twice.
  const puts: Finding[] = [];
  let more = 0;
  for await (const put of unfinishedPuts(options, projectId === null ? '' : `${projectId}/`)) {
    signal.throwIfAborted();
    if (puts.length < mostKept.unfinished) puts.push(put);
    else more += 1;
  }
  await note(options, sweep, puts, { counts: { unfinished_puts: more }, status: 'cleaning' });
}

/** Keeps findings up to the bound, counts all, and moves the sweep on. */
async function note(
  { db, maxDeletes }: SweepOptions,
  sweep: SweepRow,
  findings: readonly Finding[],
  progress: { readonly counts: Counts; readonly position?: string; readonly status?: 'cleaning' },
): Promise<SweepRow> {
  const counts: Counts = { ...progress.counts };
  const add = (counter: keyof Counts, by: number): void => {
    counts[counter] = (counts[counter] ?? 0) + by;
  };
  const kept = findings.filter(({ kind, size }) => {
    const counter = countedAs[kind];
    const before = sweep[counter] + (counts[counter] ?? 0);
    add(counter, 1);
    if (kind === 'orphan') add('orphan_bytes', size ?? 0);
    return before < (kind === 'orphan' ? Math.max(mostKept.orphan, maxDeletes) : mostKept[kind]);
  });
  return inTransaction(db, async (tx) => {
    await advanceSweep(tx, sweep, { ...progress, counts });
    await keepFindings(tx, sweep.id, kept);
    return findSweep(tx, sweep.id);
  });
}

async function cleanAll(options: SweepOptions, taken: SweepRow, signal: AbortSignal): Promise<void> {
  const { db, maxDeletes, quarantineSeconds } = options;
  const sweep = await findSweep(db, taken.id);
  const refusal = brake(sweep, options.brakePercent);
  // Said in every mode: a dry run must not promise what the real one refuses.
  await advanceSweep(db, sweep, { refusal: refusal ?? null });
  if (refusal !== undefined || sweep.mode === 'dry-run') return;
  const cleaning: CleanOptions = { ...options, sweep, signal };
  await mendMissing(cleaning);
  if (sweep.mode !== 'delete') return;
  await quarantineOrphans(cleaning, maxDeletes - sweep.quarantined);
  await dropUnfinished(cleaning, maxDeletes - sweep.dropped_puts);
  // A sweep of one project has judged nothing of the others.
  if (sweep.project_id !== null) return;
  const { restored, removed, failures } = await removeExpired(cleaning, quarantineSeconds, maxDeletes);
  await advanceSweep(db, sweep, { counts: { restored, removed, failures } });
}
