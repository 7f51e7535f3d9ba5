import { createHash } from 'node:crypto';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { createUploadKit, multipartBody, type UploadKit } from '../../../test/upload-kit.js';
import { compareKeys } from '../../foundation/blobs/keys.js';
import { createLedger } from './ledger.js';
import { heldBlobsAfter } from './ledger-queries.js';

let kit: UploadKit;
let projectId: string;
beforeAll(async () => {
  kit = await createUploadKit();
  projectId = await kit.project({});
});
afterAll(() => kit.close());

it('holds originals, trash included, and variants with bytes; in the order of keys, page by page', async () => {
  for (const content of ['one', 'two', 'three']) {
    const body = multipartBody([{ filename: `${content}.txt`, content }]);
    expect((await kit.send(projectId, body)).status).toBe(201);
  }
  const files = await kit.db.selectFrom('files').selectAll().execute();
  const [first, second, third] = files;
  if (!first || !second || !third) throw new Error('three files were uploaded');
  await kit.db.updateTable('files').set({ deleted_at: new Date() }).where('id', '=', first.id).execute();
  await kit.db
    .updateTable('files')
    .set({ status: 'uploading', size: null, sha256: null })
    .where('id', '=', second.id)
    .execute();
  const variant = (name: string, key: string | null) => ({
    file_id: third.id,
    name,
    project_id: projectId,
    status: 'pending' as const,
    recipe: '{}',
    recipe_digest: 'x',
    s3_key: key,
    pending_key: `${projectId}/${name}/pending.webp`,
    ...(key !== null && { size: 5, sha256: createHash('sha256').update('bytes').digest() }),
    mime_type: 'image/webp',
  });
  await kit.db
    .insertInto('variants')
    .values([variant('card', `${projectId}/card/x.webp`), variant('thumb', null)])
    .execute();

  const ledger = createLedger(kit.db);
  const held = [];
  for await (const blob of ledger.list()) held.push(blob);
  const keys = [first.s3_key, third.s3_key, `${projectId}/card/x.webp`].sort(compareKeys);
  expect(held.map(({ key }) => key)).toEqual(keys);
  expect(held.find(({ key }) => key === third.s3_key)).toEqual({
    key: third.s3_key,
    size: third.size,
    sha256: third.sha256,
    contentType: 'text/plain',
  });
  expect(await ledger.total()).toEqual({ blobs: 3, bytes: 5 + (first.size ?? 0) + (third.size ?? 0) });
  expect(await ledger.find(second.s3_key)).toBeUndefined();
  expect(await ledger.find(`${projectId}/card/x.webp`)).toMatchObject({ size: 5 });
  const paged = [];
  for (let after = ''; ;) {
    const [next] = await heldBlobsAfter(kit.db, after, 1);
    if (!next) break;
    paged.push(next.key);
    after = next.key;
  }
  expect(paged).toEqual(keys);
});
