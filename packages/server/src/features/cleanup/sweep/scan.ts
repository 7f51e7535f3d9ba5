import type { BlobStat, BlobStore } from '../../../foundation/blobs/blob-store.js';
import { compareKeys, placeOf } from '../../../foundation/blobs/keys.js';
import { mergeKeys } from '../../../foundation/blobs/merge-keys.js';
import type { Db } from '../../../foundation/database/connect.js';
import { heldNames, type HeldName } from './name-queries.js';

/** The store does not list in the order of keys: nothing that follows from a comparison would be true. */
export class ListingUnordered extends Error {
  override readonly name = 'ListingUnordered';
}

export interface ScanOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Only keys of this project; null: the whole store. */
  readonly projectId: string | null;
  /** The last key that is judged already; empty at the beginning. */
  readonly position: string;
  /** Most keys of one batch. */
  readonly batchKeys: number;
}

/** A stretch of keys, with everything in it on which the two sides do not agree at first sight. */
export interface Batch {
  /** The last key of the stretch. */
  readonly position: string;
  readonly blobs: number;
  /** Of those blobs. */
  readonly bytes: number;
  readonly rows: number;
  /** Blobs that no row says to be there. */
  readonly unheld: readonly BlobStat[];
  /** Rows whose blobs were not listed. */
  readonly unlisted: readonly HeldName[];
  /** Blobs of another size than their rows say. */
  readonly unequal: readonly { readonly row: HeldName; readonly blob: BlobStat }[];
  readonly foreign: readonly BlobStat[];
  /** Blobs below `.quarantine/`, under the keys that they had before. */
  readonly quarantined: readonly BlobStat[];
}

/** Rows of one query; some 200 bytes each. */
const pageRows = 2_000;
/** Keys that a batch may hold in memory, and that are looked up again in one query. */
const mostSuspects = 500;

/**
 * Walks the store's listing and the rows side by side, one page of each in memory. What comes and goes meanwhile shows
 * up as a difference, so every one of them is to be looked at again.
 * @throws ListingUnordered, StoreUnavailable
 */
export async function* scan(options: ScanOptions): AsyncGenerator<Batch> {
  const { db, blobs, projectId, position, batchKeys } = options;
  // With the slash: no other project's id or folder may count as this one's.
  const prefix = projectId === null ? '' : `${projectId}/`;
  const listing = blobs.list({ prefix, ...(position === '' ? {} : { after: position }) });
  let batch = emptyBatch();
  const merged = mergeKeys(inOrder(listing, position), names(db, prefix, position), nothing());
  for await (const { key, first: blob, second: row } of merged) {
    batch.position = key;
    batch.keys += 1;
    if (row) batch.rows += 1;
    if (blob) sort(batch, blob, row);
    else if (row) batch.unlisted.push(row);
    if (batch.keys >= batchKeys || suspectsOf(batch) >= mostSuspects) {
      yield batch;
      batch = emptyBatch();
    }
  }
  if (batch.keys > 0) yield batch;
}

function sort(batch: Collected, blob: BlobStat, row: HeldName | undefined): void {
  const place = placeOf(blob.key);
  if (row || place.kind === 'blob') {
    batch.blobs += 1;
    batch.bytes += blob.size;
    if (!row) batch.unheld.push(blob);
    else if (row.size !== blob.size) batch.unequal.push({ row, blob });
  } else if (place.kind === 'quarantine') {
    batch.quarantined.push({ ...blob, key: place.key });
  } else if (place.kind === 'foreign') {
    batch.foreign.push(blob);
  }
}

interface Collected extends Batch {
  position: string;
  keys: number;
  blobs: number;
  bytes: number;
  rows: number;
  readonly unheld: BlobStat[];
  readonly unlisted: HeldName[];
  readonly unequal: { readonly row: HeldName; readonly blob: BlobStat }[];
  readonly foreign: BlobStat[];
  readonly quarantined: BlobStat[];
}

function emptyBatch(): Collected {
  return {
    position: '',
    keys: 0,
    blobs: 0,
    bytes: 0,
    rows: 0,
    unheld: [],
    unlisted: [],
    unequal: [],
    foreign: [],
    quarantined: [],
  };
}

function suspectsOf({ unheld, unlisted, unequal, foreign, quarantined }: Batch): number {
  return unheld.length + unlisted.length + unequal.length + foreign.length + quarantined.length;
}

async function* inOrder(listing: AsyncIterable<BlobStat>, position: string): AsyncGenerator<BlobStat> {
  let previous = position;
  for await (const blob of listing) {
    if (previous !== '' && compareKeys(blob.key, previous) <= 0) {
      throw new ListingUnordered(`the store lists ${blob.key} behind ${previous}`);
    }
    previous = blob.key;
    yield blob;
  }
}

async function* names(db: Db, prefix: string, position: string): AsyncGenerator<HeldName> {
  // The slash's successor ends the range of everything that begins with the prefix.
  const before = prefix === '' ? undefined : `${prefix.slice(0, -1)}0`;
  for (let after = position === '' ? prefix : position; ;) {
    const page = await heldNames(db, { after, before, limit: pageRows });
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return;
    after = last.key;
  }
}

async function* nothing(): AsyncGenerator<never> {}
