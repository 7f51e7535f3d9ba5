import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { cleanupOptions } from '../../../test/cleanup-options.js';
import { createTestApi, type Member, type TestApi } from '../../../test/api.js';
import { openDiskStore } from '../../foundation/blobs/disk.js';
import { originalKey, variantKey } from '../../foundation/blobs/keys.js';
import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import { createLog } from '../../foundation/log.js';
import { newId } from '../../foundation/ids.js';
import type { JobHandler } from '../../foundation/queue/define.js';
import { fileRoutes } from '../files/routes.js';
import { purgeBlobs } from '../files/purge-job.js';
import { createCleanup, lateWriteSeconds } from './cleanup.js';
import { deleteFilesJob } from './deletions/job.js';
import { deletionRoutes } from './deletions/routes.js';
import { orderPurge, purgeProjectJob } from './projects/purge-job.js';
import { purgeTrashJob } from './trash.js';
import { purgeFiles } from './trash-queries.js';
import { claimStore } from './store-identity.js';

const View = Type.Object({ id: Type.String(), deletedAt: Type.Union([Type.String(), Type.Null()]) });

let api: TestApi;
let blobs: BlobStore;
let owner: Member;
let folder: string;
let handlers: readonly JobHandler[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mbk-deletion-'));
  blobs = await openDiskStore({ folder: join(folder, 'blobs') });
  const log = await createLog({ level: 'silent', pretty: false });
  api = await createTestApi({
    projects: { onPurged: (tx, { id }) => orderPurge(tx, id) },
    routes: (db) => [
      fileRoutes({
        db,
        nameSearch: () => Promise.resolve('substring'),
        present: (_project, files) =>
          Promise.resolve(
            files.map(({ id, deleted_at }) => ({ id, deletedAt: deleted_at?.toISOString() ?? null })),
          ),
        fileViewSchema: View,
        purge: (tx, projectId, ids) => purgeFiles(tx, projectId, ids, { againAfter: lateWriteSeconds }),
      }),
      deletionRoutes({
        db,
        publicUrl: 'https://media.example',
        nameSearch: () => Promise.resolve('substring'),
      }),
    ],
  });
  const { db } = api.database;
  await claimStore({ db, blobs });
  handlers = createCleanup({
    db,
    blobs,
    log,
    ...cleanupOptions,
    trashSeconds: 3600,
  }).handlers;
  owner = await api.register();
});
afterAll(async () => {
  await api.close();
  await blobs.close();
  await rm(folder, { recursive: true });
});

const call = (method: string, path: string, body?: unknown) =>
  api.call(method, path, { token: owner.token, ...(body === undefined ? {} : { body }) });

interface Stored {
  readonly id: string;
  readonly keys: readonly string[];
  readonly bytes: number;
}

/** A file with two variants, one of which is just being made, as an upload and a render leave them. */
async function store(projectId: string, filename = 'a.jpg'): Promise<Stored> {
  const { db } = api.database;
  const id = newId();
  const [original, ready, pending] = [
    originalKey(projectId, id, 'jpg'),
    variantKey(projectId, 'thumb', id, 'webp'),
    variantKey(projectId, 'wide', id, 'webp'),
  ];
  const bytes = randomBytes(100);
  const sha256 = createHash('sha256').update(bytes).digest();
  for (const key of [original, ready]) await blobs.put(key, bytes, { size: bytes.length });
  const common = { project_id: projectId, size: bytes.length, sha256 };
  await db
    .insertInto('files')
    .values({ ...common, id, s3_key: original, filename, mime_type: 'image/jpeg', status: 'processing' })
    .execute();
  const variant = { file_id: id, project_id: projectId, recipe: '{}', recipe_digest: 'x' };
  await db
    .insertInto('variants')
    .values([
      { ...variant, ...common, name: 'thumb', status: 'ready', s3_key: ready, mime_type: 'image/webp' },
      { ...variant, name: 'wide', status: 'rendering', pending_key: pending },
    ])
    .execute();
  await db
    .updateTable('project_usage')
    .set((eb) => ({
      original_bytes: eb('original_bytes', '+', 100),
      variant_bytes: eb('variant_bytes', '+', 100),
      file_count: eb('file_count', '+', 1),
    }))
    .where('project_id', '=', projectId)
    .execute();
  return { id, keys: [original, ready, pending], bytes: 100 };
}

const usageOf = async (projectId: string) => {
  const row = await api.database.db
    .selectFrom('project_usage')
    .select(['original_bytes', 'variant_bytes', 'file_count', 'trash_bytes', 'reserved_bytes'])
    .where('project_id', '=', projectId)
    .executeTakeFirst();
  return row && [row.original_bytes, row.variant_bytes, row.file_count, row.trash_bytes, row.reserved_bytes];
};
const buriedOf = async (projectId: string) => {
  const rows = await api.database.db
    .selectFrom('tombstones')
    .select('key')
    .where('project_id', '=', projectId)
    .orderBy('key')
    .execute();
  return rows.map(({ key }) => key);
};
const eventsOf = async (projectId: string) => {
  const rows = await api.database.db
    .selectFrom('events')
    .select(['type', 'subject_id'])
    .where('project_id', '=', projectId)
    .orderBy('id')
    .execute();
  return rows.map(({ type, subject_id }) => [type, subject_id]);
};
const age = (table: 'files' | 'projects', id: string, seconds: number) =>
  api.database.db
    .updateTable(table)
    .set({ deleted_at: new Date(Date.now() - seconds * 1000) })
    .where('id', '=', id)
    .execute();

/** Runs jobs of these kinds until none waits. */
async function work(...kinds: readonly { readonly name: string }[]): Promise<void> {
  const { db } = api.database;
  const log = await createLog({ level: 'silent', pretty: false });
  for (;;) {
    const job = await db
      .selectFrom('waiting_jobs')
      .selectAll()
      .where(
        'kind',
        'in',
        kinds.map(({ name }) => name),
      )
      .orderBy('id')
      .limit(1)
      .executeTakeFirst();
    if (!job) return;
    await db.deleteFrom('waiting_jobs').where('id', '=', job.id).execute();
    const handler = handlers.find(({ kind }) => kind.name === job.kind)!;
    await handler.run({
      id: job.id,
      payload: job.payload,
      projectId: job.project_id,
      attempt: 1,
      lastAttempt: false,
      signal: new AbortController().signal,
      log,
      finish: (end) => db.transaction().execute(end),
    });
  }
}
const run = async (kind: { readonly name: string }) => {
  await api.database.db
    .insertInto('waiting_jobs')
    .values({
      id: newId(),
      kind: kind.name,
      payload: '{}',
      lane: 2,
      turn: 1,
      run_at: new Date(),
      max_attempts: 1,
    })
    .execute();
  await work(kind);
};

describe('a file that is deleted', () => {
  it('is hidden at once, counts until it is purged, and comes back as it was', async () => {
    const project = await api.createProject(owner);
    const file = await store(project);
    expect((await call('DELETE', `/files/${file.id}`)).status).toBe(204);
    expect((await call('GET', `/files/${file.id}`)).status).toBe(404);
    expect((await call('DELETE', `/files/${file.id}`)).status).toBe(404);
    expect((await call('GET', `/projects/${project}/files`)).ids).toEqual([]);
    const trash = await call('GET', `/projects/${project}/files?trash=true`);
    expect(trash.ids).toEqual([file.id]);
    expect(trash.body.data[0].deletedAt).toEqual(expect.any(String));
    expect(await usageOf(project)).toEqual([100, 100, 1, 100, 0]);
    expect(await buriedOf(project)).toEqual([]);

    for (let round = 0; round < 2; round++) {
      const restored = await call('POST', `/files/${file.id}/restore`);
      expect([restored.status, restored.body.deletedAt]).toEqual([200, null]);
    }
    expect(await usageOf(project)).toEqual([100, 100, 1, 0, 0]);
    expect((await call('GET', `/files/${file.id}`)).status).toBe(200);
    expect(await eventsOf(project)).toEqual([
      ['file.trashed', file.id],
      ['file.restored', file.id],
    ]);
  });

  it('for good gives its quota back once, and leaves nothing in the store', async () => {
    const project = await api.createProject(owner);
    const [file, other] = [await store(project), await store(project)];
    await call('DELETE', `/files/${other.id}`);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => call('DELETE', `/files/${file.id}?permanent=true`)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 404, 404, 404, 404]);
    expect(await usageOf(project)).toEqual([100, 100, 1, 100, 0]);
    expect(await buriedOf(project)).toEqual([...file.keys].sort());
    // Also out of the trash.
    expect((await call('DELETE', `/files/${other.id}?permanent=true`)).status).toBe(204);
    expect(await usageOf(project)).toEqual([0, 0, 0, 0, 0]);
    expect((await call('POST', `/files/${other.id}/restore`)).status).toBe(404);
    await work(purgeBlobs);
    for (const key of [...file.keys, ...other.keys]) expect(await blobs.stat(key)).toBeUndefined();
    // A render under way may still write its key: that one is deleted once more.
    expect(await buriedOf(project)).toEqual([file.keys[2], other.keys[2]].sort());
  });

  it('is not restored and purged both, however close the two come', async () => {
    const project = await api.createProject(owner);
    for (let round = 0; round < 10; round++) {
      const file = await store(project);
      await call('DELETE', `/files/${file.id}`);
      await age('files', file.id, 7200);
      const [restored] = await Promise.all([call('POST', `/files/${file.id}/restore`), run(purgeTrashJob)]);
      const found = await call('GET', `/files/${file.id}`);
      expect(found.status).toBe(restored.status);
      if (found.status === 200) await call('DELETE', `/files/${file.id}?permanent=true`);
      expect(await usageOf(project)).toEqual([0, 0, 0, 0, 0]);
    }
  });

  it('goes when it has been in the trash for too long, and not before', async () => {
    const project = await api.createProject(owner);
    const [old, young, living] = [await store(project), await store(project), await store(project)];
    for (const { id } of [old, young]) await call('DELETE', `/files/${id}`);
    await age('files', old.id, 3700);
    await age('files', young.id, 3500);
    await run(purgeTrashJob);
    expect(await buriedOf(project)).toEqual([...old.keys].sort());
    expect((await call('GET', `/projects/${project}/files?trash=true`)).ids).toEqual([young.id]);
    expect((await call('GET', `/projects/${project}/files`)).ids).toEqual([living.id]);
  });

  it('is none of a stranger’s business', async () => {
    const project = await api.createProject(owner);
    const file = await store(project);
    const stranger = await api.register();
    await call('DELETE', `/files/${file.id}`);
    const never = await api.call('POST', `/files/${newId()}/restore`, { token: stranger.token });
    for (const [method, path] of [
      ['POST', `/files/${file.id}/restore`],
      ['DELETE', `/files/${file.id}?permanent=true`],
    ] as const) {
      const answer = await api.call(method, path, { token: stranger.token });
      expect([answer.status, answer.text]).toEqual([404, never.text]);
    }
  });
});

describe('many files at once', () => {
  it('are deleted by their ids, and what was not there is named', async () => {
    const project = await api.createProject(owner);
    const files = [await store(project), await store(project), await store(project)];
    const foreign = await store(await api.createProject(owner));
    const nobody = newId();
    await call('DELETE', `/files/${files[2]!.id}`);
    const ordered = await call('POST', `/projects/${project}/files/delete`, {
      ids: [files[0]!.id, files[2]!.id, foreign.id, nobody],
    });
    expect(ordered.status).toBe(202);
    expect(ordered.body).toMatchObject({ status: 'running', permanent: false, filesTotal: null });
    const path = `/projects/${project}/deletions/${ordered.body.id}`;
    expect(ordered.headers['location']).toBe(`https://media.example${path}`);
    await work(deleteFilesJob);
    const { body } = await call('GET', path);
    expect(body).toMatchObject({ status: 'completed', filesTotal: 4, filesDeleted: 1 });
    expect([...body.notFound].sort()).toEqual([files[2]!.id, foreign.id, nobody].sort());
    expect((await call('GET', `/projects/${project}/files`)).ids).toEqual([files[1]!.id]);
    expect((await call('GET', `/files/${foreign.id}`)).status).toBe(200);
  });

  it('are deleted by a filter, for good, those that come later aside', async () => {
    const project = await api.createProject(owner);
    for (let n = 0; n < 3; n++) await store(project, `holiday ${n}.jpg`);
    const kept = await store(project, 'work.jpg');
    const ordered = await call('POST', `/projects/${project}/files/delete`, {
      filter: { name: 'HOLIDAY' },
      permanent: true,
    });
    const late = await store(project, 'holiday late.jpg');
    await work(deleteFilesJob);
    expect((await call('GET', `/projects/${project}/deletions/${ordered.body.id}`)).body).toMatchObject({
      status: 'completed',
      filesTotal: 3,
      filesDeleted: 3,
      notFound: [],
    });
    expect((await call('GET', `/projects/${project}/files`)).ids).toEqual([late.id, kept.id]);
    expect(await usageOf(project)).toEqual([200, 200, 2, 0, 0]);
  });

  it('can be ended, and is refused when nobody could say what is meant', async () => {
    const project = await api.createProject(owner);
    const file = await store(project);
    const path = `/projects/${project}/files/delete`;
    for (const wrong of [
      {},
      { ids: [] },
      { ids: ['x'] },
      { ids: [file.id], filter: {} },
      { filter: { size: 1 } },
    ])
      expect((await call('POST', path, wrong)).status).toBe(400);
    const ordered = await call('POST', path, { filter: {} });
    const one = `/projects/${project}/deletions/${ordered.body.id}`;
    expect((await call('DELETE', one)).body).toMatchObject({ status: 'cancelled' });
    await work(deleteFilesJob);
    expect((await call('GET', `/files/${file.id}`)).status).toBe(200);
    expect((await call('GET', `/projects/${project}/deletions`)).ids).toEqual([ordered.body.id]);
  });
});

describe('a project that is deleted', () => {
  it('can be restored with everything in it', async () => {
    const project = await api.createProject(owner);
    const file = await store(project);
    expect((await call('DELETE', `/projects/${project}`)).status).toBe(204);
    expect((await call('GET', `/projects/${project}`)).status).toBe(404);
    expect((await call('GET', `/files/${file.id}`)).status).toBe(404);
    expect((await call('DELETE', `/files/${file.id}?permanent=true`)).status).toBe(404);
    expect((await call('GET', '/projects?trash=true')).ids).toContain(project);
    const restored = await call('POST', `/projects/${project}/restore`);
    expect([restored.status, restored.body.deletedAt]).toEqual([200, null]);
    expect((await call('GET', `/files/${file.id}`)).status).toBe(200);
    expect(await eventsOf(project)).toEqual([
      ['project.trashed', project],
      ['project.restored', project],
    ]);
  });

  it('for good takes everything with it, in steps that can be killed, and cannot be brought back', async () => {
    const { db } = api.database;
    const project = await api.createProject(owner);
    const files = [];
    for (let n = 0; n < 5; n++) files.push(await store(project));
    await call('DELETE', `/files/${files[0]!.id}`);
    const { id: keyId } = await api.createKey(owner, project);
    await call('POST', `/projects/${project}/files/delete`, { filter: {} });
    const upload = newId();
    await db
      .insertInto('uploads')
      .values({
        id: upload,
        project_id: project,
        protocol: 'direct',
        filename: 'x',
        staging_key: `.staging/${upload}`,
        file_id: newId(),
        reserved_bytes: 7,
      })
      .execute();
    const half = newId();
    await db
      .insertInto('files')
      .values({
        id: half,
        project_id: project,
        s3_key: originalKey(project, half, 'png'),
        filename: 'half',
        mime_type: 'image/png',
        status: 'uploading',
        reserved_bytes: 3,
      })
      .execute();
    await db
      .updateTable('project_usage')
      .set({ reserved_bytes: 10, reserved_files: 2 })
      .where('project_id', '=', project)
      .execute();

    expect((await call('DELETE', `/projects/${project}?permanent=true`)).status).toBe(204);
    expect((await call('POST', `/projects/${project}/restore`)).status).toBe(404);
    expect((await call('GET', '/projects?trash=true')).ids).not.toContain(project);
    await work(purgeProjectJob);
    for (const table of ['files', 'variants', 'uploads', 'deletions', 'api_keys', 'project_usage'] as const) {
      expect(
        await db.selectFrom(table).select('project_id').where('project_id', '=', project).execute(),
      ).toEqual([]);
    }
    expect(await db.selectFrom('projects').select('id').where('id', '=', project).execute()).toEqual([]);
    expect(await db.selectFrom('api_keys').select('id').where('id', '=', keyId).execute()).toEqual([]);
    const buried = await buriedOf(project);
    expect(buried).toEqual(expect.arrayContaining(files.flatMap(({ keys }) => keys)));
    expect(buried).toContain(`.staging/${upload}`);
    expect((await eventsOf(project)).at(-1)).toEqual(['project.purged', project]);
    await work(purgeBlobs);
    for (const { keys } of files) for (const key of keys) expect(await blobs.stat(key)).toBeUndefined();
  });

  it('goes when it has been in the trash for too long', async () => {
    const project = await api.createProject(owner);
    await store(project);
    await call('DELETE', `/projects/${project}`);
    await run(purgeTrashJob);
    expect((await call('POST', `/projects/${project}/restore`)).status).toBe(200);
    await call('DELETE', `/projects/${project}`);
    await age('projects', project, 3700);
    await run(purgeTrashJob);
    await work(purgeProjectJob);
    expect(await usageOf(project)).toBeUndefined();
  });
});
