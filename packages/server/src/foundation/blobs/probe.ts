import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { StoreUnavailable, type BlobStore } from './blob-store.js';
import { ownFolder } from './keys.js';

const folder = `${ownFolder}probes/`;
/** A probe takes seconds; one that is older was left by a process that was killed in the middle of it. */
const leftOverMs = 60 * 60 * 1000;

/** Writes, reads and deletes a random blob; rejects within `limitMs` when that does not work. */
export async function probeStore(store: BlobStore, limitMs = 10_000): Promise<void> {
  const key = `${folder}${randomBytes(12).toString('hex')}`;
  const bytes = randomBytes(64);
  const signal = AbortSignal.timeout(limitMs);
  const round = async (): Promise<void> => {
    await store.put(key, bytes, { size: bytes.length, signal });
    const { body } = await store.get(key, { signal });
    const read = await buffer(body);
    await store.delete(key);
    if (!read.equals(bytes))
      throw new StoreUnavailable('the store returns other bytes than were written', key);
  };
  const late = new Promise<never>((_resolve, reject) => {
    const refuse = (): void =>
      reject(new StoreUnavailable(`the store does not answer within ${limitMs} ms`, key));
    signal.addEventListener('abort', refuse, { once: true });
  });
  try {
    await Promise.race([round(), late]);
  } catch (error) {
    if (signal.aborted) await late;
    throw error;
  }
}

/** Removes probes that killed processes left behind; returns how many. */
export async function removeOldProbes(store: BlobStore): Promise<number> {
  const old: string[] = [];
  for await (const { key, lastModified } of store.list({ prefix: folder })) {
    if (Date.now() - lastModified.getTime() > leftOverMs) old.push(key);
  }
  const failed = await store.deleteMany(old);
  return old.length - failed.length;
}
