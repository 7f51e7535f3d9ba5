import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createUploadKit, type UploadKit } from '../../../test/upload-kit.js';
import { originalKey, stagingKey } from '../../foundation/blobs/keys.js';
import { newId } from '../../foundation/ids.js';
import { inTransaction } from '../projects/queries.js';
import { settleFiles, UploadLost } from './intake-queries.js';
import {
  abandonUploads,
  completeUpload,
  findUpload,
  openFileOfUpload,
  openUpload,
  resizeUpload,
  type UploadRow,
} from './upload-queries.js';

const unlimited = { bytes: null, files: null };
const digest = Buffer.alloc(32, 7);
const given = { code: 'file-too-large', detail: 'too large' };

describe('an upload that takes several requests', () => {
  let kit: UploadKit;
  beforeAll(async () => {
    kit = await createUploadKit();
  });
  afterAll(() => kit.close());

  const open = (projectId: string, bytes: number, quota = unlimited as Parameters<typeof openUpload>[2]) => {
    const id = newId();
    return inTransaction(kit.db, (tx) =>
      openUpload(
        tx,
        {
          id,
          projectId,
          protocol: 'direct',
          filename: 'a.bin',
          declaredType: null,
          size: bytes,
          sha256: null,
          metadata: {},
          stagingKey: stagingKey(id),
          fileId: newId(),
          createdBy: { userId: kit.userId },
          need: bytes,
          want: bytes,
        },
        quota,
      ),
    );
  };
  const openFile = (upload: UploadRow) =>
    inTransaction(kit.db, (tx) =>
      openFileOfUpload(tx, upload, {
        key: originalKey(upload.project_id, upload.file_id, 'bin'),
        mimeType: 'application/octet-stream',
      }),
    );
  const abandon = (projectId: string, ids: readonly string[]) =>
    inTransaction(kit.db, (tx) => abandonUploads(tx, projectId, ids, given));

  it('of fifty at once exactly as many find room as fit', async () => {
    const project = await kit.project();
    const quota = { bytes: 17 * 1000 + 999, files: null };
    const results = await Promise.allSettled(Array.from({ length: 50 }, () => open(project, 1000, quota)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(17);
    expect(await kit.usage(project)).toEqual({ bytes: 0, files: 0, reserved: 17_000, reservedFiles: 17 });
  });

  it('becomes a file, and what it held becomes what is held', async () => {
    const project = await kit.project();
    const upload = await open(project, 1000);
    const file = await openFile(upload);
    expect(file).toMatchObject({ id: upload.file_id, status: 'verifying', reserved_bytes: 1000 });
    expect(await kit.usage(project)).toMatchObject({ reserved: 1000, reservedFiles: 1, files: 0 });
    const settled = {
      id: file.id,
      status: 'ready',
      size: 900,
      sha256: digest,
      width: null,
      height: null,
    } as const;
    await inTransaction(kit.db, async (tx) => {
      await settleFiles(tx, project, [settled]);
      await completeUpload(tx, upload.id);
    });
    expect(await kit.usage(project)).toEqual({ bytes: 900, files: 1, reserved: 0, reservedFiles: 0 });
    expect(await abandon(project, [upload.id])).toEqual([]);
    await expect(openFile(upload)).rejects.toBeInstanceOf(UploadLost);
  });

  it('gives everything back when it is given up, before and while it is verified', async () => {
    const project = await kit.project();
    const early = await open(project, 1000);
    const late = await open(project, 500);
    await openFile(late);
    await inTransaction(kit.db, (tx) =>
      resizeUpload(tx, project, early.id, { need: 1500, want: 2000 }, unlimited),
    );
    expect(await kit.usage(project)).toMatchObject({ reserved: 2500, reservedFiles: 2 });
    const ids = [early.id, late.id];
    expect(await abandon(project, ids)).toEqual(ids);
    expect(await abandon(project, ids)).toEqual([]);
    expect(await findUpload(kit.db, project, late.id)).toMatchObject({
      status: 'failed',
      failure: 'too large',
    });
    await expect(
      inTransaction(kit.db, (tx) => resizeUpload(tx, project, early.id, { need: 1, want: 1 }, unlimited)),
    ).rejects.toBeInstanceOf(UploadLost);
    const buried = await kit.db
      .selectFrom('tombstones')
      .select('key')
      .where('project_id', '=', project)
      .execute();
    expect(buried.map(({ key }) => key).sort()).toEqual(
      [early.staging_key, late.staging_key, originalKey(project, late.file_id, 'bin')].sort(),
    );
    expect(await kit.leftovers(project)).toMatchObject({
      rows: 0,
      reservedBytes: 0,
      reservedFiles: 0,
      tombstones: 0,
    });
  });

  it('keeps its keys from being deleted while it lives', async () => {
    const project = await kit.project();
    const upload = await open(project, 3);
    await kit.blobs.put(upload.staging_key, Buffer.from('abc'));
    await kit.db
      .insertInto('tombstones')
      .values({ key: upload.staging_key, project_id: project, reason: 'a mistake' })
      .execute();
    await kit.cleanup('purge-blobs');
    expect(await kit.blobs.stat(upload.staging_key)).toMatchObject({ size: 3 });
    await abandon(project, [upload.id]);
    await kit.cleanup('purge-blobs');
    expect(await kit.blobs.stat(upload.staging_key)).toBeUndefined();
  });
});
