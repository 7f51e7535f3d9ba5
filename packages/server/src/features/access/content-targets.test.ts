import { afterAll, beforeAll, expect, it } from 'vitest';

import { createTestApi, type TestApi } from '../../../test/api.js';
import { newId } from '../../foundation/ids.js';
import { createContentTargets } from './content-targets.js';

let api: TestApi;
beforeAll(async () => {
  api = await createTestApi();
});
afterAll(() => api.close());

it('what somebody is in the project of a file is known, and forgotten when told', async () => {
  const owner = await api.register();
  const member = await api.register();
  const projectId = await api.createProject(owner);
  const fileId = newId();
  const { pool, db } = api.database;
  await pool.query(
    `INSERT INTO files (id, project_id, s3_key, filename, mime_type, size, sha256, status)
     VALUES ($1, $2, $3, 'a.png', 'image/png', 1, $4, 'ready')`,
    [fileId, projectId, `${projectId}/files/${fileId}.png`, Buffer.alloc(32)],
  );
  await pool.query(`INSERT INTO project_members (project_id, user_id, role) VALUES ($1, $2, 'viewer')`, [
    projectId,
    member.userId,
  ]);
  const targets = createContentTargets({ db, clock: api.clock });
  const roles = async () =>
    Promise.all(
      [owner.userId, member.userId, newId(), undefined].map(
        async (userId) => (await targets.find(fileId, userId))?.role,
      ),
    );
  expect(await roles()).toEqual(['owner', 'viewer', undefined, undefined]);

  await pool.query('DELETE FROM project_members WHERE user_id = $1', [member.userId]);
  expect((await roles())[1]).toBe('viewer');
  targets.forgetMembers();
  expect((await roles())[1]).toBeUndefined();

  await pool.query('UPDATE files SET deleted_at = now() WHERE id = $1', [fileId]);
  targets.forget(fileId);
  expect(await targets.find(fileId, owner.userId)).toBeUndefined();
});
