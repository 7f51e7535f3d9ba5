import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { cleanupOptions } from '../../../test/cleanup-options.js';
import { createUploadKit, type UploadKit } from '../../../test/upload-kit.js';
import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import { originalKey, stagingKey } from '../../foundation/blobs/keys.js';
import { newId } from '../../foundation/ids.js';
import { createLog } from '../../foundation/log.js';
import { openFile } from '../files/intake-queries.js';
import { openUpload } from '../files/upload-queries.js';
import { inTransaction } from '../projects/queries.js';
import { createCleanup, type CleanupOptions } from './cleanup.js';
import type { Counts } from './recorded.js';

let kit: UploadKit;
let project: string;
beforeAll(async () => {
  kit = await createUploadKit();
  project = await kit.project();
});
afterAll(() => kit.close());

/** Runs the removal of temporaries, for which a put is old once it has begun. */
async function removeTemporaries(): Promise<void> {
  await runLine('remove-temporaries', {
    blobs: {
      ...kit.blobs,
      removeStaleTemporaries: (_olderThanMs, keep) => kit.blobs.removeStaleTemporaries(-1000, keep),
    },
  });
}

/** Runs a line of the timetable. @returns what it has counted. */
async function runLine(name: string, options: Partial<CleanupOptions> = {}): Promise<Counts> {
  const log = await createLog({ level: 'silent', pretty: false });
  let counted: Counts = {};
  const { handlers } = createCleanup({
    db: kit.db,
    blobs: kit.blobs,
    log,
    ...cleanupOptions,
    onRun: ({ counts }) => {
      counted = counts;
    },
    ...options,
  });
  const handler = handlers.find(({ kind }) => kind.name === name);
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
  return counted;
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

it('every line of the timetable can say beforehand what it would take', async () => {
  const log = await createLog({ level: 'silent', pretty: false });
  const { timetable, due } = createCleanup({
    db: kit.db,
    blobs: kit.blobs,
    log,
    ...cleanupOptions,
    auditSeconds: 1,
  });
  expect(Object.keys(due).sort()).toEqual(timetable.map(({ kind }) => kind.name).sort());
  for (const count of Object.values(due)) {
    for (const number of Object.values(await count())) expect(number).toBeGreaterThanOrEqual(0);
  }
});

describe('forgetting', () => {
  /** Somebody whose account was deleted so many days ago. */
  async function person(daysAgo: number | null): Promise<string> {
    const id = newId();
    const email = `${id}@example.org`;
    await kit.db
      .insertInto('users')
      .values({
        id,
        email,
        email_canonical: email,
        password_hash: '-',
        deleted_at: daysAgo === null ? null : sql<Date>`now() - make_interval(days => ${daysAgo}::integer)`,
      })
      .execute();
    return id;
  }

  it('removes the rows of people deleted long ago, unless a project is still theirs; their files stay', async () => {
    const [gone, owner, recent, living] = await Promise.all([
      person(31),
      person(31),
      person(29),
      person(null),
    ]);
    await kit.db
      .insertInto('projects')
      .values({ id: newId(), owner_id: owner, name: 'p', settings: '{}', deleted_at: new Date() })
      .execute();
    await file('aborted');
    await kit.db.updateTable('files').set({ created_by_user: gone }).execute();
    expect(await runLine('forget-people', { cap: 1 })).toEqual({ people: 1 });
    expect(await runLine('forget-people')).toEqual({});
    const { rows } = await sql<{ id: string }>`
      SELECT id FROM users WHERE id = ANY (${[gone, owner, recent, living]}::uuid[])`.execute(kit.db);
    expect(rows.map(({ id }) => id).sort()).toEqual([owner, recent, living].sort());
    const made = await kit.db.selectFrom('files').select('created_by_user').execute();
    expect(made.length).toBeGreaterThan(0);
    expect(made.every(({ created_by_user: by }) => by === null)).toBe(true);
  });

  it('removes entries of the audit log after the time that is set, and never without one', async () => {
    const entry = (days: number) => ({
      id: newId(),
      at: sql<Date>`now() - make_interval(days => ${days}::integer)`,
      actor_kind: 'operator',
      action: 'test',
    });
    await kit.db
      .insertInto('audit_log')
      .values([entry(400), entry(364)])
      .execute();
    expect(await runLine('forget-audit')).toEqual({});
    expect(await runLine('forget-audit', { auditSeconds: 365 * 86_400 })).toEqual({ entries: 1 });
    expect(await kit.db.selectFrom('audit_log').select('id').execute()).toHaveLength(1);
    await expect(kit.db.deleteFrom('audit_log').execute()).rejects.toThrow('append-only');
  });
});

async function first(blobs: BlobStore, id: string): Promise<{ readonly key: string }> {
  for await (const unfinished of blobs.multipart.list('')) if (unfinished.uploadId === id) return unfinished;
  throw new TypeError(`no put ${id}`);
}
