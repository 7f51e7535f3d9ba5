import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createUploadKit, type UploadKit } from '../../../test/upload-kit.js';
import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import { originalKey, stagingKey } from '../../foundation/blobs/keys.js';
import { newId } from '../../foundation/ids.js';
import { createLog } from '../../foundation/log.js';
import { openFile } from '../files/intake-queries.js';
import { openUpload } from '../files/upload-queries.js';
import { inTransaction } from '../projects/queries.js';
import { createCleanup } from './cleanup.js';

let kit: UploadKit;
let project: string;
beforeAll(async () => {
  kit = await createUploadKit();
  project = await kit.project();
});
afterAll(() => kit.close());

/** Runs the removal of temporaries, for which a put is old once it has begun. */
async function removeTemporaries(): Promise<void> {
  const log = await createLog({ level: 'silent', pretty: false });
  const blobs: BlobStore = {
    ...kit.blobs,
    removeStaleTemporaries: (_olderThanMs, keep) => kit.blobs.removeStaleTemporaries(-1000, keep),
  };
  const { handlers } = createCleanup({
    db: kit.db,
    blobs,
    log,
    uploadStaleSeconds: 300,
    uploadExpirySeconds: 86_400,
    trashSeconds: 30 * 86_400,
  });
  const handler = handlers.find(({ kind }) => kind.name === 'remove-temporaries');
  if (!handler) throw new TypeError('no handler');
  await handler.run({
    id: newId(),
    payload: {},
    projectId: null,
    attempt: 1,
    lastAttempt: false,
    signal: new AbortController().signal,
    log,
    finish: (work) => inTransaction(kit.db, work),
  });
}

/** Begins an upload of several requests with its put in parts, in the given state; gives the put's id. */
async function upload(status: 'open' | 'completing' | 'completed' | 'failed'): Promise<string> {
  const id = newId();
  const key = stagingKey(id);
  await inTransaction(kit.db, (tx) =>
    openUpload(
      tx,
      {
        id,
        projectId: project,
        protocol: 'direct',
        filename: 'a',
        declaredType: null,
        size: 10,
        sha256: null,
        metadata: {},
        stagingKey: key,
        fileId: newId(),
        createdBy: {},
        need: 10,
        want: 10,
      },
      { bytes: null, files: null },
    ),
  );
  const multipartId = await kit.blobs.multipart.begin(key);
  await kit.db
    .updateTable('uploads')
    .set({ status, multipart_id: multipartId })
    .where('id', '=', id)
    .execute();
  return multipartId;
}

/** Begins a file with its put in parts, in the given state; gives the put's id. */
async function file(status: 'uploading' | 'verifying' | 'aborted'): Promise<string> {
  const id = newId();
  const key = originalKey(project, id, 'bin');
  await inTransaction(kit.db, (tx) =>
    openFile(
      tx,
      {
        id,
        projectId: project,
        key,
        filename: 'a',
        mimeType: 'application/octet-stream',
        declaredType: null,
        createdBy: {},
        need: 10,
        want: 10,
      },
      { bytes: null, files: null },
    ),
  );
  await kit.db.updateTable('files').set({ status }).where('id', '=', id).execute();
  return kit.blobs.multipart.begin(key);
}

describe('removing what unfinished puts left', () => {
  it('spares the puts in parts that a living row names, however old they are', async () => {
    const living = [await upload('open'), await upload('completing')];
    living.push(await file('uploading'), await file('verifying'));
    await upload('completed');
    await upload('failed');
    await file('aborted');
    await kit.blobs.multipart.begin(stagingKey(newId()));
    // Another put for the key of a living upload: its answer was lost, and nobody knows its id.
    const { key } = await first(kit.blobs, living[0] ?? '');
    await kit.blobs.multipart.begin(key);

    await removeTemporaries();
    const left: string[] = [];
    for await (const { uploadId } of kit.blobs.multipart.list('')) left.push(uploadId);
    expect(left.sort()).toEqual(living.sort());
  });
});

async function first(blobs: BlobStore, id: string): Promise<{ readonly key: string }> {
  for await (const unfinished of blobs.multipart.list('')) if (unfinished.uploadId === id) return unfinished;
  throw new TypeError(`no put ${id}`);
}
