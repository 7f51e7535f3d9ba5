import { randomBytes } from 'node:crypto';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { openScene, type Scene, type SceneFile, type SceneProject } from '../../../../test/content-scene.js';
import { originalKey, variantKey } from '../../../foundation/blobs/keys.js';
import { newId } from '../../../foundation/ids.js';
import { renderAgain } from '../../variants/render-again.js';
import { claimStore } from '../store-identity.js';
import { blobChecks, rowChecks, type CheckName } from './checks.js';
import { fsck, FsckRefused, type Violation } from './fsck.js';
import { recount } from './row-queries.js';

let scene: Scene;
let project: SceneProject;
let file: SceneFile;
let variant: string;

beforeAll(async () => {
  scene = await openScene();
  await claimStore(scene);
});
afterAll(() => scene.close());

const long = new Date(Date.now() - 7 * 86_400_000);

/** A project as it must be: a picture with one variant, counted. */
beforeEach(async () => {
  for (const table of [
    'tombstones',
    'waiting_jobs',
    'running_jobs',
    'uploads',
    'files',
    'regenerations',
  ] as const) {
    await scene.db.deleteFrom(table).execute();
  }
  await scene.db.deleteFrom('projects').execute();
  for await (const { key } of scene.blobs.list({ prefix: '' })) {
    if (!key.startsWith('.mediablobkit/')) await scene.blobs.delete(key);
  }
  for await (const { key, uploadId } of scene.blobs.multipart.list('')) {
    await scene.blobs.multipart.abort(key, uploadId);
  }
  project = await scene.project({ variants: { thumb: { width: 20 } } });
  file = await scene.file(project, { bytes: randomBytes(50), mimeType: 'image/jpeg', extension: 'jpg' });
  variant = await scene.variant(file, project, 'thumb', randomBytes(30));
  await recount(scene.db, { subject: project.id, projectId: project.id, detail: '' });
});

async function check(order: { deep?: boolean; repair?: boolean; graceSeconds?: number } = {}) {
  const { deep = false, repair = false, graceSeconds = 0 } = order;
  const violations: Violation[] = [];
  const end = await fsck(
    {
      db: scene.db,
      blobs: scene.blobs,
      bounds: { uploadStaleSeconds: 300, uploadExpirySeconds: 86_400, slackSeconds: 60 },
      graceSeconds,
      remedies: { renderAgain, onDamage: () => Promise.resolve() },
    },
    { deep, repair, signal: new AbortController().signal, onViolation: (one) => violations.push(one) },
  );
  expect(end.found).toBe(violations.length);
  return violations;
}

const setFile = (values: Record<string, unknown>) =>
  scene.db.updateTable('files').set(values).where('id', '=', file.id).execute();
const setVariant = (values: Record<string, unknown>) =>
  scene.db.updateTable('variants').set(values).where('file_id', '=', file.id).execute();
const setUsage = (values: Record<string, unknown>) =>
  scene.db.updateTable('project_usage').set(values).where('project_id', '=', project.id).execute();
async function upload(values: Record<string, unknown>): Promise<void> {
  const id = newId();
  await scene.db
    .insertInto('uploads')
    .values({
      id,
      project_id: project.id,
      protocol: 'direct',
      filename: 'x',
      staging_key: `.staging/${id}`,
      file_id: newId(),
      active_at: long,
      ...values,
    })
    .execute();
}
const bury = (key: string, values: Record<string, unknown> = {}) =>
  scene.db
    .insertInto('tombstones')
    .values({
      key,
      project_id: project.id,
      reason: 'test',
      not_before: new Date(Date.now() + 3_600_000),
      ...values,
    })
    .execute();

interface Damage {
  readonly what: string;
  readonly check: CheckName;
  readonly doIt: () => Promise<unknown>;
  /** What `--repair` leaves. */
  readonly left?: readonly CheckName[];
  readonly deep?: boolean;
}

/** Each done on purpose: exactly this is to be found, and nothing else. */
const damages: readonly Damage[] = [
  {
    what: 'a counter of bytes that is off',
    check: 'quota-drift',
    doIt: () => setUsage({ original_bytes: 51 }),
    left: [],
  },
  {
    what: 'a counter of files that is off',
    check: 'quota-drift',
    doIt: () => setUsage({ file_count: 0 }),
    left: [],
  },
  {
    what: 'a counter of variants that is off',
    check: 'quota-drift',
    doIt: () => setUsage({ variant_bytes: 0 }),
    left: [],
  },
  {
    what: 'a reservation of nobody',
    check: 'quota-drift',
    doIt: () => setUsage({ reserved_bytes: 9 }),
    left: [],
  },
  {
    what: 'trash that is not counted',
    check: 'quota-drift',
    doIt: () => setFile({ deleted_at: new Date() }),
    left: [],
  },
  {
    what: 'an upload that is over and holds quota',
    check: 'reservation-leaked',
    doIt: async () => {
      await upload({ status: 'failed', reserved_bytes: 5 });
      await setUsage({ reserved_bytes: 5 });
    },
    left: [],
  },
  {
    what: 'a file that nobody sends any more',
    check: 'upload-stuck',
    doIt: () => {
      const id = newId();
      return scene.db
        .insertInto('files')
        .values({
          id,
          project_id: project.id,
          s3_key: originalKey(project.id, id, 'png'),
          filename: 'x',
          mime_type: 'image/png',
          status: 'uploading',
          heartbeat_at: long,
        })
        .execute();
    },
  },
  {
    what: 'an upload of several requests that nobody gave up',
    check: 'upload-forgotten',
    doIt: () => upload({ status: 'open' }),
  },
  {
    what: 'parts of an upload that is over',
    check: 'parts-left',
    doIt: () => upload({ status: 'failed', multipart_id: 'abc' }),
  },
  {
    what: 'a variant that is to be made and has no job',
    check: 'render-lost',
    doIt: () => setVariant({ status: 'rendering', updated_at: long }),
    left: [],
  },
  {
    what: 'a file that waits for variants it has',
    check: 'state-wrong',
    doIt: () => setFile({ status: 'processing', updated_at: long }),
    left: [],
  },
  {
    what: 'a key in another project’s folder',
    check: 'key-stray',
    doIt: async () => {
      const key = originalKey(newId(), file.id, 'jpg');
      await scene.blobs.copy(file.key, key);
      await scene.blobs.delete(file.key);
      await setFile({ s3_key: key });
    },
  },
  {
    what: 'a variant of another project',
    check: 'variant-stray',
    doIt: async () => {
      const other = await scene.project();
      const key = variantKey(other.id, 'thumb', file.id, 'webp');
      await scene.blobs.copy(variant, key);
      await scene.blobs.delete(variant);
      await setVariant({ project_id: other.id, s3_key: key });
      for (const { id } of [project, other])
        await recount(scene.db, { subject: id, projectId: id, detail: '' });
    },
  },
  {
    what: 'a living key that is to be deleted',
    check: 'tombstone-living',
    doIt: () => bury(file.key),
    left: [],
  },
  {
    what: 'a key that the store does not let go',
    check: 'tombstone-stuck',
    doIt: () => bury('x/y', { created_at: long, last_error: 'AccessDenied' }),
  },
  {
    what: 'a job whose worker is dead',
    check: 'lease-dead',
    doIt: () =>
      scene.db
        .insertInto('running_jobs')
        .values({
          id: newId(),
          token: newId(),
          holder: 'gone/1',
          lease_until: long,
          kind: 'purge-blobs',
          payload: '{}',
          lane: 2,
          attempt: 1,
          max_attempts: 1,
          created_at: long,
        })
        .execute(),
  },
  {
    what: 'a regeneration that nobody does',
    check: 'walk-lost',
    doIt: () =>
      scene.db
        .insertInto('regenerations')
        .values({ id: newId(), project_id: project.id, which: 'all', reason: 'request', updated_at: long })
        .execute(),
  },
  {
    what: 'an original that is not there',
    check: 'blob-missing',
    doIt: () => scene.blobs.delete(file.key),
    left: ['blob-missing'],
  },
  { what: 'a variant that is not there', check: 'blob-missing', doIt: () => scene.blobs.delete(variant) },
  {
    what: 'a blob that is cut',
    check: 'blob-size',
    doIt: () => scene.blobs.put(file.key, file.bytes.subarray(0, 20), { size: 20 }),
  },
  {
    what: 'a blob with a flipped bit',
    check: 'blob-hash',
    deep: true,
    doIt: () => {
      const bytes = Buffer.from(file.bytes);
      bytes[7] = (bytes[7] ?? 0) ^ 1;
      return scene.blobs.put(file.key, bytes, { size: bytes.length });
    },
  },
  {
    what: 'a blob that nothing names',
    check: 'blob-unknown',
    doIt: () => scene.blobs.put(originalKey(project.id, newId(), 'png'), Buffer.from('x'), { size: 1 }),
  },
  {
    what: 'a put in parts that nobody goes on with',
    check: 'put-unfinished',
    doIt: () => scene.blobs.multipart.begin(originalKey(project.id, newId(), 'bin'), {}),
  },
];

describe('an installation as it must be', () => {
  it('has no violations', async () => {
    expect(await check({ deep: true })).toEqual([]);
  });

  it('has none while uploads, renders and deletions are under way', async () => {
    const id = newId();
    await scene.db
      .insertInto('files')
      .values({
        id,
        project_id: project.id,
        s3_key: originalKey(project.id, id, 'png'),
        filename: 'x',
        mime_type: 'image/png',
        status: 'uploading',
      })
      .execute();
    await setVariant({ pending_key: variantKey(project.id, 'thumb', file.id, 'webp', 2) });
    await scene.blobs.put(variantKey(project.id, 'thumb', file.id, 'webp', 2), Buffer.from('x'), { size: 1 });
    const buried = originalKey(project.id, newId(), 'png');
    await scene.blobs.put(buried, Buffer.from('x'), { size: 1 });
    await bury(buried);
    await scene.blobs.put('somebody/else.txt', Buffer.from('x'), { size: 1 });
    expect(await check({ deep: true })).toEqual([]);
  });

  it('is not told from young blobs without a row', async () => {
    await scene.blobs.put(originalKey(project.id, newId(), 'png'), Buffer.from('x'), { size: 1 });
    expect(await check({ graceSeconds: 3600 })).toEqual([]);
  });
});

describe('damage', () => {
  it.each(damages)('$what is $check', async ({ check: name, doIt, left, deep = false }) => {
    await doIt();
    const found = await check({ deep });
    expect(found.map((one) => one.check)).toEqual([name]);
    expect(found[0]!.detail.length).toBeGreaterThan(10);
    if (left === undefined) return;
    const repairing = await check({ deep, repair: true });
    expect(repairing.map(({ repaired }) => repaired)).toEqual([left.length === 0]);
    expect((await check({ deep })).map((one) => one.check)).toEqual(left);
  });

  it('of every kind but keys that the database itself keeps apart is tried here', () => {
    const tried = new Set(damages.map((damage) => damage.check));
    const all = [...Object.keys(rowChecks), ...Object.keys(blobChecks)];
    expect(all.filter((name) => !tried.has(name as CheckName))).toEqual(['key-shared']);
  });

  it('of a variant is repaired by rendering it again, and nothing is ever deleted', async () => {
    await scene.blobs.delete(variant);
    const stray = originalKey(project.id, newId(), 'png');
    await scene.blobs.put(stray, Buffer.from('x'), { size: 1 });
    const found = await check({ repair: true });
    expect(found.map(({ check: name, repaired }) => [name, repaired]).sort()).toEqual([
      ['blob-missing', true],
      ['blob-unknown', false],
    ]);
    const jobs = await scene.db.selectFrom('waiting_jobs').select(['kind', 'payload']).execute();
    expect(jobs).toMatchObject([{ kind: 'render-variants', payload: { fileId: file.id } }]);
    expect(await scene.blobs.stat(stray)).toBeDefined();
  });

  it('cannot be judged in another installation’s store', async () => {
    const { id } = await scene.db.selectFrom('installation').select('id').executeTakeFirstOrThrow();
    await scene.db.updateTable('installation').set({ id: newId() }).execute();
    await expect(check()).rejects.toThrow(FsckRefused);
    await scene.db.updateTable('installation').set({ id }).execute();
  });
});
