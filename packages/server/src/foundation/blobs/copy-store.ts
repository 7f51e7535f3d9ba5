import pLimit from 'p-limit';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobError, StoreFull, StoreUnavailable, type BlobStat, type BlobStore } from './blob-store.js';
import {
  copyBlob,
  digestBlob,
  standardWaits,
  withRetries,
  type CopyContext,
  type ExpectedBlob,
} from './copy-blob.js';
import type { VerifiedSpan } from './copy-state.js';
import { compareKeys } from './keys.js';
import { mergeKeys, type Merged } from './merge-keys.js';

/** Whoever knows what must be in the source. */
export interface BlobLedger {
  /** Every blob that must be there, ordered by the bytes of the keys. */
  list(): AsyncIterable<ExpectedBlob>;
  /** The same for one key, now; undefined when nothing must be there (any more). */
  find(key: string): Promise<ExpectedBlob | undefined>;
  total(): Promise<Amount>;
}

export interface Amount {
  readonly blobs: number;
  readonly bytes: number;
}

/** Why the target lacks a blob, or has another one under its key. */
export interface CopyFailure {
  readonly key: string;
  /** missing: in no store, though it must be. altered: the source has other bytes. failed: a store refuses. */
  readonly kind: 'missing' | 'altered' | 'failed';
  /** A sentence for a person. */
  readonly reason: string;
}

/** How a blob was dealt with. */
export type Outcome =
  | 'copied'
  /** There already, and read anew. */
  | 'verified'
  /** There already, and read by an earlier run. */
  | 'known'
  /** Deleted while the copy ran. */
  | 'vanished'
  /** In the target only. */
  | 'extra'
  | 'failure';

/** What was done so far; changes while the copy runs. */
export interface CopyTally {
  readonly outcomes: Readonly<Record<Outcome, Amount>>;
  /** Bytes read from the source. */
  readonly moved: number;
  /** Undefined while it is being counted. */
  readonly total: Amount | undefined;
}

export interface CopyOptions {
  readonly from: BlobStore;
  readonly to: BlobStore;
  readonly ledger: BlobLedger | undefined;
  /** Blobs under way at the same time. */
  readonly parallel: number;
  /** What earlier runs have verified in the target. */
  readonly verified: readonly VerifiedSpan[];
  /** Ends the copy: what is under way is dropped, and leaves nothing under its key. */
  readonly signal: AbortSignal;
  readonly onFailure: (failure: CopyFailure) => void;
  readonly onExtra: (blob: BlobStat) => void;
  /** Everything up to the key is in the target as it should be; a null is the end. */
  readonly onVerified: (span: VerifiedSpan) => void;
  /** Milliseconds before the second attempt and so on. */
  readonly retryWaits?: readonly number[];
  readonly onStart?: (tally: CopyTally) => void;
}

export interface CopyResult extends CopyTally {
  readonly interrupted: boolean;
}

/** So many blobs that fail one after another are no blobs' fault. */
const mostFailuresInARow = 20;
/** What is prepared ahead of the blobs under way, so that a large one does not stop the small ones behind it. */
const windowFactor = 16;

/**
 * Copies every blob of one store into another and verifies each copy by reading it. Nothing is ever deleted but a
 * copy that reads back wrong. What the store keeps for itself (first segment with a dot: mark, probes, staging) stays.
 * @throws StoreFull, StoreUnavailable when the stores cannot be used at all.
 */
export async function copyStore(options: CopyOptions): Promise<CopyResult> {
  const { from, to, ledger, parallel, onVerified } = options;
  // Also stops the others when one meets something that ends them all.
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const tally = createTally();
  const { retryWaits: waits = standardWaits } = options;
  const context: CopyContext = { from, to, signal, waits, onBytes: (bytes) => (tally.moved += bytes) };
  options.onStart?.(tally);
  const counting = countTotal(options, signal).then((total) => (tally.total = total));

  const limit = pLimit(parallel);
  let failuresInARow = 0;
  let fatal: Error | undefined;
  const deal = async (entry: Entry): Promise<Done> => {
    const done = await dealWith(options, context, entry);
    tally.count(done.outcome, done.size);
    if (done.failure === undefined) failuresInARow = 0;
    else {
      options.onFailure(done.failure);
      failuresInARow = done.failure.kind === 'failed' ? failuresInARow + 1 : 0;
      if (failuresInARow >= mostFailuresInARow) {
        throw new StoreUnavailable(
          `${mostFailuresInARow} blobs in a row could not be copied; the last because ${done.failure.reason}`,
          '',
        );
      }
    }
    return done;
  };

  const pending: { readonly key: string; readonly done: Promise<Done> }[] = [];
  const behind = { latest: 0, sure: true };
  /** Waits for the blob that comes first, so that what is verified has no gaps. */
  const settleFirst = async (): Promise<void> => {
    const first = pending.shift();
    if (first === undefined) return;
    const done = await first.done;
    behind.latest = Math.max(behind.latest, done.lastModified ?? 0);
    if (done.unsure) behind.sure = false;
    if (behind.sure) onVerified({ through: first.key, modifiedUpTo: behind.latest });
  };
  try {
    for await (const entry of mergeKeys(
      blobsOf(from, signal),
      blobsOf(to, signal),
      ledger?.list() ?? nothing(),
    )) {
      if (entry.key.startsWith('.')) continue;
      const done = limit(() => deal(entry));
      done.catch((error: unknown) => {
        fatal ??= errorOf(error);
        stop.abort(error);
      });
      pending.push({ key: entry.key, done });
      while (pending.length >= parallel * windowFactor) await settleFirst();
      signal.throwIfAborted();
    }
    while (pending.length > 0) await settleFirst();
    if (behind.sure) onVerified({ through: null, modifiedUpTo: behind.latest });
  } catch (error) {
    fatal ??= errorOf(error);
  } finally {
    stop.abort(new Error('the copy has ended'));
    await Promise.allSettled([...pending.map(({ done }) => done), counting]);
  }
  if (options.signal.aborted) return { ...tally, interrupted: true };
  if (fatal !== undefined) throw fatal;
  return { ...tally, interrupted: false };
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

type Entry = Merged<BlobStat, BlobStat, ExpectedBlob>;

interface Done {
  readonly outcome: Outcome;
  readonly size: number;
  /** Milliseconds since 1970 by the target's clock. */
  readonly lastModified?: number;
  /** The target may hold something under the key that is not what it should be. */
  readonly unsure?: boolean;
  readonly failure?: CopyFailure;
}

/** Brings one key into order. Rejects only with what ends the whole copy. */
async function dealWith(options: CopyOptions, context: CopyContext, entry: Entry): Promise<Done> {
  const { key, first: source, second: target } = entry;
  const { ledger } = options;
  const { from, to, signal } = context;
  try {
    return await withRetries(context, async () => {
      // A row may be younger than the page of rows, and one of the page may be gone.
      let expected = source && entry.third ? entry.third : await ledger?.find(key);
      if (source === undefined && expected === undefined && target !== undefined) {
        if ((await from.stat(key)) === undefined) {
          options.onExtra(target);
          return { outcome: 'extra', size: target.size };
        }
      }
      const size = expected?.size ?? source?.size;
      if (target !== undefined && target.size === size) {
        if (isKnown(options.verified, target)) {
          return { outcome: 'known', size, lastModified: target.lastModified.getTime() };
        }
        const wanted = expected ?? (await digestBlob(from, key, signal));
        const there = await digestBlob(to, key, signal);
        if (wanted && there?.size === wanted.size && there.sha256.equals(wanted.sha256)) {
          return { outcome: 'verified', size, lastModified: there.lastModified.getTime() };
        }
      }
      const copy = await copyBlob(context, key, expected);
      if (copy) return { outcome: 'copied', size: copy.size, lastModified: copy.lastModified.getTime() };
      expected = await ledger?.find(key);
      if (expected === undefined) return { outcome: 'vanished', size: source?.size ?? 0 };
      const reason = `no blob, though a row names it: ${expected.size} bytes, SHA-256 ${expected.sha256.toString('hex')}`;
      return failed(key, 'missing', reason, expected.size, target !== undefined);
    });
  } catch (error) {
    if (signal.aborted || !(error instanceof BlobError) || error instanceof StoreFull) throw error;
    const kind = error.name === 'SourceAltered' ? 'altered' : 'failed';
    const size = entry.third?.size ?? source?.size ?? 0;
    return failed(key, kind, error.message, size, kind === 'failed' || target !== undefined);
  }
}

function failed(key: string, kind: CopyFailure['kind'], reason: string, size: number, unsure: boolean): Done {
  return { outcome: 'failure', size, unsure, failure: { key, kind, reason } };
}

/** Clocks of stores count whole seconds, and some round up. */
const clockMarginMs = 1_000;

/** Whether an earlier run has read exactly this blob: nothing under a key changes without becoming younger. */
function isKnown(spans: readonly VerifiedSpan[], { key, lastModified }: BlobStat): boolean {
  return spans.some(
    ({ through, modifiedUpTo }) =>
      (through === null || compareKeys(key, through) <= 0) &&
      lastModified.getTime() < modifiedUpTo - clockMarginMs,
  );
}

/** How often a listing is begun again, behind its last key, after an outage. */
const listAttempts = 5;

/** All blobs of a store; a listing that breaks off goes on where it was. */
async function* blobsOf(store: BlobStore, signal: AbortSignal): AsyncGenerator<BlobStat> {
  let after: string | undefined;
  for (let attempt = 1; ; attempt += 1) {
    try {
      for await (const blob of store.list({ prefix: '', ...(after !== undefined && { after }) })) {
        yield blob;
        after = blob.key;
        attempt = 1;
      }
      return;
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || attempt === listAttempts || signal.aborted) throw error;
      await sleep(1_000 * attempt, undefined, { signal });
    }
  }
}

async function* nothing(): AsyncGenerator<never> {
  // There is no ledger.
}

/** Undefined when it cannot be counted: it is only for people who wait. */
async function countTotal({ from, ledger }: CopyOptions, signal: AbortSignal): Promise<Amount | undefined> {
  try {
    if (ledger) return await ledger.total();
    let total = { blobs: 0, bytes: 0 };
    for await (const { key, size } of from.list({ prefix: '' })) {
      if (signal.aborted) return undefined;
      if (!key.startsWith('.')) total = { blobs: total.blobs + 1, bytes: total.bytes + size };
    }
    return total;
  } catch {
    return undefined;
  }
}

function createTally() {
  const zero = (): { blobs: number; bytes: number } => ({ blobs: 0, bytes: 0 });
  const outcomes = {
    copied: zero(),
    verified: zero(),
    known: zero(),
    vanished: zero(),
    extra: zero(),
    failure: zero(),
  } satisfies Record<Outcome, Amount>;
  return {
    outcomes,
    moved: 0,
    total: undefined as Amount | undefined,
    count(outcome: Outcome, bytes: number): void {
      outcomes[outcome].blobs += 1;
      outcomes[outcome].bytes += bytes;
    },
  };
}
