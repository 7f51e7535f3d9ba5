import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import { BlobTruncated } from '../../../foundation/blobs/blob-store.js';
import { digestBlob, type Digest } from '../../../foundation/blobs/copy-blob.js';
import type { Db } from '../../../foundation/database/connect.js';
import { foreignStore } from '../store-identity.js';
import { databaseTime } from '../sweep/name-queries.js';
import { leastChecked, noteRead, type CheckedBlob } from './check-queries.js';
import { noteIntegrity } from './damage-queries.js';
import { noteDamage, type Remedies, type Remedy } from './damage.js';

export interface IntegrityOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly remedies: Remedies;
}

/** A blob that is not what its row says. */
export interface Damaged {
  readonly blob: CheckedBlob;
  readonly kind: 'missing' | 'corrupt';
  readonly remedy: Remedy;
  /** As a clause for a person. */
  readonly why: string;
}

export interface CheckOrder {
  /** Bytes after which no further blob is begun; one more may be read to its end. */
  readonly bytes: number;
  readonly signal: AbortSignal;
  readonly onDamaged?: (damaged: Damaged) => void;
}

export interface CheckEnd {
  readonly blobs: number;
  readonly bytes: number;
  readonly missing: number;
  readonly corrupt: number;
  /** Damaged variants that are rendered again. */
  readonly mended: number;
  /** Why nothing could be checked, as a sentence for a person. */
  readonly refusal?: string;
}

/** Rows of one query. */
const pageRows = 100;

/**
 * Reads blobs and compares them with their rows, those first that were read longest ago, none twice in one run.
 * @throws StoreUnavailable: an answer that did not come is no damage.
 */
export async function checkIntegrity(options: IntegrityOptions, order: CheckOrder): Promise<CheckEnd> {
  const { db } = options;
  const end = { blobs: 0, bytes: 0, missing: 0, corrupt: 0, mended: 0 };
  // In another store everything would be missing.
  const refusal = await foreignStore(options);
  if (refusal !== undefined) return { ...end, refusal };
  const began = await databaseTime(db);
  while (end.bytes < order.bytes) {
    const page = await leastChecked(db, began, pageRows);
    let noted = 0;
    for (const blob of page) {
      if (end.bytes >= order.bytes) break;
      order.signal.throwIfAborted();
      const { bytes, damaged } = await checkBlob(options, blob, order.signal);
      end.blobs += 1;
      end.bytes += bytes;
      await noteRead(db, bytes);
      if (damaged?.remedy === 'gone') continue;
      noted += 1;
      if (!damaged) continue;
      end[damaged.kind] += 1;
      if (damaged.remedy === 'mended') end.mended += 1;
      order.onDamaged?.(damaged);
    }
    // Rows that change faster than they are read would come again and again.
    if (page.length < pageRows || noted === 0) break;
  }
  return end;
}

async function checkBlob(
  { db, blobs, remedies }: IntegrityOptions,
  blob: CheckedBlob,
  signal: AbortSignal,
): Promise<{ readonly bytes: number; readonly damaged?: Damaged }> {
  const first = await read(blobs, blob, signal);
  let bytes = first?.size ?? 0;
  let fault = faultOf(blob, first);
  if (fault?.kind === 'corrupt') {
    // Memory and networks flip bits too; what is said of the store must be so twice.
    const second = await read(blobs, blob, signal);
    bytes += second?.size ?? 0;
    fault = faultOf(blob, second);
  }
  if (!fault) {
    await noteIntegrity(db, blob, 'ok');
    return { bytes };
  }
  const remedy = await noteDamage(db, remedies, blob, fault.kind);
  return { bytes, damaged: { blob, ...fault, remedy } };
}

/** What the store gives for the key; undefined when it has nothing there. */
async function read(
  blobs: BlobStore,
  { key }: CheckedBlob,
  signal: AbortSignal,
): Promise<Pick<Digest, 'size' | 'sha256'> | undefined> {
  try {
    return await digestBlob(blobs, key, signal);
  } catch (error) {
    if (!(error instanceof BlobTruncated)) throw error;
    return { size: 0, sha256: Buffer.alloc(0) };
  }
}

function faultOf(
  { size, sha256 }: CheckedBlob,
  found: Pick<Digest, 'size' | 'sha256'> | undefined,
): Pick<Damaged, 'kind' | 'why'> | undefined {
  if (!found) return { kind: 'missing', why: 'it is not in the store' };
  if (found.size !== size) return { kind: 'corrupt', why: `it has ${found.size} bytes instead of ${size}` };
  if (!found.sha256.equals(sha256)) return { kind: 'corrupt', why: 'its SHA-256 is another' };
  return undefined;
}
