import type { BlobStore, StoreCapabilities } from '../../foundation/blobs/blob-store.js';
import type { Log } from '../../foundation/log.js';

/** What follows from the lack of each ability, for the person who chose the store. */
const consequences: Readonly<Record<keyof StoreCapabilities, string>> = {
  conditionalPut:
    'This store has no conditional put (If-None-Match): of two databases that start on it for the first time at the ' +
    'same moment the later one wins, which is waited for 2 s; never let two share a bucket.',
  multipart:
    'This store has no multipart uploads: files above 8 MiB, resumable uploads and direct uploads in parts fail there.',
  sealedMultipart:
    'This store still takes parts of a multipart upload that is complete, which changes or breaks the blob: clients ' +
    'cannot do so (their blobs are copied first), a process of ours that was paused in the middle of a part can.',
  signedUrls:
    'This store does not serve, or does not check, signed URLs: set MBK_DELIVERY=proxy, and let no client upload to it directly.',
  signedForms:
    'This store has no forms (POST policies): clients that upload to it directly send a signed PUT of exactly the ' +
    'length they declared.',
};

/**
 * Tries what the store can do and says in one line each what it lacks and what follows. Never rejects: a store that
 * does not answer is another matter, of which readiness tells.
 */
export async function reportAbilities(blobs: BlobStore, log: Log, signal: AbortSignal): Promise<void> {
  // The server itself stands in for what a disk cannot do.
  if (blobs.backend === 'disk') return;
  try {
    const capabilities = await blobs.capabilities();
    for (const [ability, consequence] of Object.entries(consequences)) {
      if (!capabilities[ability as keyof StoreCapabilities]) log.warn({ ability }, consequence);
    }
  } catch (error) {
    if (signal.aborted) return;
    log.warn(
      { err: error },
      'what the store can do could not be found out; it is asked again when it matters',
    );
  }
}
