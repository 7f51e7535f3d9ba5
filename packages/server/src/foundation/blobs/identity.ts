import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';

import { isId } from '../ids.js';
import { BlobExists, BlobMissing, Unsupported, type BlobStore } from './blob-store.js';
import { ownFolder } from './keys.js';

/** The key of the mark that a store bears for as long as it lives. */
export const identityKey = `${ownFolder}identity.json`;
/** What stands for the id in a mark that nobody can read; no id is spelt so. */
export const unreadable = 'unreadable';

/** A mark has some 60 bytes; anything much longer is none. */
const longestMark = 4096;
const limitMs = 10_000;
/** Whoever saw no mark before ours was there writes its own within milliseconds. */
const settleMs = 2_000;

/**
 * Reads whose store this is.
 * @returns the id in the mark, `unreadable` for a mark that is none of ours, undefined when there is no mark.
 * @throws StoreUnavailable; an answer that did not come is never taken for an absent mark.
 */
export async function readIdentity(store: BlobStore): Promise<string | undefined> {
  try {
    const { body, size } = await store.get(identityKey, { signal: AbortSignal.timeout(limitMs) });
    if (size > longestMark) {
      body.destroy();
      return unreadable;
    }
    return idIn(await text(body));
  } catch (error) {
    if (error instanceof BlobMissing) return undefined;
    throw error;
  }
}

/** Marks the store with the id, whatever mark it bore. */
export async function writeIdentity(store: BlobStore, id: string): Promise<void> {
  await putMark(store, id, false);
}

/**
 * Marks a store that bears no mark. Of several at the same moment the first wins; where the store cannot put if absent,
 * the last, and this resolves only after a while in which the others write theirs. Who it was, only reading tells.
 */
export async function writeFirstIdentity(store: BlobStore, id: string): Promise<void> {
  try {
    await putMark(store, id, true);
  } catch (error) {
    if (error instanceof BlobExists) return;
    if (!(error instanceof Unsupported)) throw error;
    await putMark(store, id, false);
    await delay(settleMs);
  }
}

async function putMark(store: BlobStore, id: string, ifAbsent: boolean): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify({ installation: id })}\n`);
  await store.put(identityKey, bytes, {
    size: bytes.length,
    contentType: 'application/json',
    ifAbsent,
    signal: AbortSignal.timeout(limitMs),
  });
}

function idIn(mark: string): string {
  try {
    const { installation } = (JSON.parse(mark) ?? {}) as { installation?: unknown };
    return typeof installation === 'string' && isId(installation) ? installation : unreadable;
  } catch {
    // No JSON: somebody else's file, or one that was cut.
    return unreadable;
  }
}
