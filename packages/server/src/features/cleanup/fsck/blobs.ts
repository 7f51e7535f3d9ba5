import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { digestBlob } from '../../../foundation/blobs/copy-blob.js';
import type { Db } from '../../../foundation/database/connect.js';
import { createLedger } from '../ledger.js';
import { heldBlob } from '../ledger-queries.js';
import { judge, unfinishedPuts } from '../sweep/judge.js';
import { scan } from '../sweep/scan.js';
import type { Wrong } from './row-queries.js';

export interface BlobsOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Seconds that a blob without a row must have lain unchanged. */
  readonly graceSeconds: number;
  readonly signal: AbortSignal;
}

/** A difference between rows and store, with the row it is about. */
export interface WrongBlob extends Wrong {
  readonly check: 'blob-missing' | 'blob-unknown' | 'blob-size' | 'blob-hash' | 'put-unfinished';
  readonly fileId?: string | null;
  readonly variant?: string | null;
}

const batchKeys = 5_000;

/** Compares rows and store both ways, a page of each in memory; every difference is looked at again. */
export async function* wrongBlobs({
  db,
  blobs,
  graceSeconds,
  signal,
}: BlobsOptions): AsyncGenerator<WrongBlob> {
  const options = { db, blobs, graceSeconds };
  for await (const batch of scan({ db, blobs, projectId: null, position: '', batchKeys })) {
    signal.throwIfAborted();
    const { findings } = await judge(options, batch);
    for (const { kind, key, projectId, fileId, variant, why } of findings) {
      if (kind === 'orphan') yield { check: 'blob-unknown', subject: key, projectId, detail: why };
      if (kind === 'missing') {
        yield {
          check: 'blob-missing',
          subject: key,
          projectId,
          detail: why,
          fileId: fileId ?? null,
          variant: variant ?? null,
        };
      }
    }
    for (const { row, blob } of batch.unequal) {
      // Looked at again: the row may be about another blob by now.
      const [held, there] = [await heldBlob(db, row.key), await blobs.stat(row.key)];
      if (!held || !there || held.size === there.size) continue;
      yield {
        check: 'blob-size',
        subject: row.key,
        projectId: row.projectId,
        detail: `it has ${blob.size} bytes in the store, and its row says ${row.size}`,
        fileId: row.fileId,
        variant: row.variant,
      };
    }
  }
  for await (const { key, projectId, why } of unfinishedPuts(options, '')) {
    signal.throwIfAborted();
    yield { check: 'put-unfinished', subject: key, projectId, detail: why };
  }
}

/** Reads every blob that a row names and compares its SHA-256; those of another size are told by `wrongBlobs`. */
export async function* wrongBytes({ db, blobs, signal }: BlobsOptions): AsyncGenerator<WrongBlob> {
  for await (const { key, size, sha256 } of createLedger(db).list()) {
    signal.throwIfAborted();
    const read = await digestBlob(blobs, key, signal);
    // Absent blobs, and those of another size, are told by the comparison with the listing.
    if (!read || read.size !== size || read.sha256.equals(sha256)) continue;
    // Keys are never used again, so the row either still says so, or is gone.
    const held = await heldBlob(db, key);
    if (held) {
      const [projectId] = key.split('/', 1);
      yield {
        check: 'blob-hash',
        subject: key,
        projectId: projectId ?? null,
        detail: 'its bytes in the store have another SHA-256 than its row says',
      };
    }
  }
}
