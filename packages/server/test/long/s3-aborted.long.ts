import { describe, it } from 'vitest';

import type { BlobStore } from '../../src/foundation/blobs/blob-store.js';
import { openBlobStore } from '../../src/foundation/blobs/open.js';
import { abortedUploads } from '../aborted-uploads.suite.js';
import { s3Access, s3Url } from '../s3-access.js';

for (const name of ['rgw', 'swift'] as const) {
  describe(`aborted uploads on ${name}`, () => {
    const url = s3Url(name);
    if (url === undefined) it.skip(`needs TEST_S3_${name.toUpperCase()}`, () => undefined);
    else abortedUploads(500, () => openEmpty(url));
  });
}

async function openEmpty(url: URL): Promise<BlobStore> {
  const store = await openBlobStore(s3Access(url, 'mediablobkit-aborted'));
  const keys: string[] = [];
  for await (const { key } of store.list({ prefix: '' })) keys.push(key);
  await store.deleteMany(keys);
  await store.removeStaleTemporaries(-60_000);
  return store;
}
