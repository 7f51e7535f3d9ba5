import type { BlobLedger } from '../../foundation/blobs/copy-store.js';
import type { Db } from '../../foundation/database/connect.js';
import { countHeldBlobs, heldBlob, heldBlobsAfter } from './ledger-queries.js';

/** Rows of one query; some 200 bytes each. */
const pageRows = 1_000;

/** What the database says must be in its store, in the order of keys, one page in memory. */
export function createLedger(db: Db): BlobLedger {
  return {
    async *list() {
      for (let after = ''; ;) {
        const page = await heldBlobsAfter(db, after, pageRows);
        yield* page;
        const last = page.at(-1);
        if (last === undefined || page.length < pageRows) return;
        after = last.key;
      }
    },
    find: (key) => heldBlob(db, key),
    total: () => countHeldBlobs(db),
  };
}
