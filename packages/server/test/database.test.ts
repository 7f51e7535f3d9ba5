import pg from 'pg';
import { expect, test } from 'vitest';

import { createTestDatabase } from './database.js';

test('a test database has the schema and is gone after close', async () => {
  const made = await createTestDatabase();
  const { rows } = await made.database.pool.query<{ name: string | null }>(
    "select to_regclass('files')::text as name",
  );
  expect(rows).toEqual([{ name: 'files' }]);
  await made.close();
  const client = new pg.Client({ connectionString: made.url });
  await expect(client.connect()).rejects.toMatchObject({ code: '3D000' });
});

test('a connection that outlives its test fails the close', async () => {
  const made = await createTestDatabase({ leakGraceMs: 100 });
  const leaked = new pg.Client({ connectionString: made.url, application_name: 'a forgotten client' });
  leaked.on('error', () => {
    // The drop ends it, which is what this test provokes.
  });
  await leaked.connect();
  await expect(made.close()).rejects.toThrow('a forgotten client');
  await leaked.end();
});
