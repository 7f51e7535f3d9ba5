import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  derivable,
  openScene,
  type Scene,
  type SceneFile,
  type SceneProject,
} from '../../../test/content-scene.js';
import { requestVariant } from './request.js';
import { renditionsOf, wishOf } from './wanted.js';

let scene: Scene;
let project: SceneProject;
beforeAll(async () => {
  scene = await openScene();
  project = await scene.project({ variants: { thumb: { width: 40 } } });
});
afterAll(() => scene.close());

const rowOf = (file: SceneFile) =>
  scene.db.selectFrom('variants').selectAll().where('file_id', '=', file.id).executeTakeFirst();
const jobsFor = async (file: SceneFile) => {
  const jobs = await scene.db
    .selectFrom('waiting_jobs')
    .selectAll()
    .where('project_id', '=', project.id)
    .execute();
  return jobs.filter(({ payload }) => JSON.stringify(payload).includes(file.id));
};

/** A file whose variant is in this state; its last change is so many seconds ago. */
async function given(state: Record<string, unknown>, secondsAgo = 0): Promise<SceneFile> {
  const file = await scene.file(project, { bytes: Buffer.from('x'), mimeType: 'image/jpeg' });
  await scene.variant(file, project, 'thumb', Buffer.from('y'));
  const { now } = await scene.db.selectNoFrom((eb) => eb.fn<Date>('now').as('now')).executeTakeFirstOrThrow();
  await scene.db
    .updateTable('variants')
    .set({ updated_at: new Date(now.getTime() - secondsAgo * 1000), ...state })
    .where('file_id', '=', file.id)
    .execute();
  return file;
}

async function request(
  file: SceneFile,
  name = 'thumb',
  mimeType = 'image/jpeg',
  settings = project.settings,
) {
  const asked = { ...derivable(file), mime_type: mimeType };
  const wish = wishOf(settings, name);
  const [wanted] = wish ? renditionsOf(wish, asked) : [];
  await requestVariant(scene.db, asked, name, wanted, { perFile: 3, keepSeconds: 60 });
}

describe('a request for a variant', () => {
  it.each<[string, Record<string, unknown>, number, number]>([
    ['that is ready', {}, 0, 0],
    ['that is ready after another recipe', { recipe_digest: 'old' }, 0, 1],
    ['that a fresh upload has planned', { status: 'pending', s3_key: null }, 0, 0],
    ['that has waited in a queue for long', { status: 'pending', s3_key: null }, 60, 1],
    ['that is lazy', { status: 'pending', s3_key: null, lazy: true }, 0, 1],
    ['that somebody is making', { status: 'rendering', s3_key: null, pending_key: 'held' }, 60, 0],
    [
      'whose maker has been silent for hours',
      { status: 'rendering', s3_key: null, pending_key: 'stale' },
      7200,
      1,
    ],
    ['that has failed', { status: 'failed', s3_key: null, failure_code: 'corrupt-image' }, 3600, 0],
    ['that has failed with another recipe', { status: 'failed', s3_key: null, recipe_digest: 'old' }, 0, 1],
    [
      'that was given up with its file',
      { status: 'failed', s3_key: null, failure_code: 'file-deleted' },
      0,
      1,
    ],
  ])('%s', async (_what, state, secondsAgo, jobs) => {
    const file = await given(state, secondsAgo);
    await request(file);
    await request(file);
    expect(await jobsFor(file)).toHaveLength(jobs);
    // Whatever is asked, what is served and what is being made stays as it is.
    const row = await rowOf(file);
    if (state['status'] === undefined) expect(row?.status).toBe('ready');
    if (state['status'] === 'failed') expect(row?.status).toBe(jobs === 1 ? 'pending' : 'failed');
  });

  it('takes the present recipe, and the stored one when the project has dropped the variant', async () => {
    const changed = await given({ status: 'pending', s3_key: null, lazy: true, recipe_digest: 'old' });
    await request(changed);
    expect(await jobsFor(changed)).toMatchObject([{ payload: { variantsConfig: { thumb: { width: 40 } } } }]);
    const recipe = JSON.stringify({ width: 7, fit: 'fill', format: 'png' });
    const dropped = await given({ name: 'dropped', status: 'pending', s3_key: null, lazy: true, recipe });
    await request(dropped, 'dropped');
    expect(await jobsFor(dropped)).toMatchObject([
      { payload: { variantsConfig: { dropped: { width: 7 } } } },
    ]);
  });

  it('of a name that nobody knows does nothing', async () => {
    const file = await given({});
    await request(file, 'unknown');
    await request(file, 'constructor');
    expect(await jobsFor(file)).toEqual([]);
  });

  it('of a type that cannot be decoded is remembered as failed', async () => {
    const file = await scene.file(project, { bytes: Buffer.from('x'), mimeType: 'image/heic' });
    await request(file, 'thumb', 'image/heic');
    expect(await rowOf(file)).toMatchObject({ status: 'failed', failure_code: 'unsupported-codec' });
    expect(await jobsFor(file)).toEqual([]);
  });
});
