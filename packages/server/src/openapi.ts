import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { loadConfig } from './config.js';
import { openBlobStore } from './foundation/blobs/open.js';
import { openDatabase } from './foundation/database/connect.js';
import { createLog } from './foundation/log.js';
import { createMetrics } from './foundation/metrics.js';
import { createClosers, type Kit } from './kit.js';
import { mountApi } from './web.js';

/**
 * The OpenAPI document of a server with default settings, for `openapi.json`. All rooms are built as ever; the
 * database is never connected to, since only requests would need it.
 */
export async function openapiDocument(): Promise<object> {
  const folder = await mkdtemp(join(tmpdir(), 'mediablobkit-openapi-'));
  const settings = loadConfig({ env: { MBK_DATA_FOLDER: folder }, cwd: folder });
  const log = await createLog({ level: 'silent', pretty: false });
  const database = openDatabase({
    url: 'postgres://nobody@localhost/nothing',
    poolSize: 2,
    statementTimeoutMs: settings.statementTimeoutMs,
    lockTimeoutMs: settings.lockTimeoutMs,
    applicationName: 'mediablobkit openapi',
    log,
  });
  const blobs = await openBlobStore({ backend: 'disk', folder: join(folder, 'blobs'), log });
  const kit: Kit = {
    settings,
    log,
    database,
    directUrl: '',
    blobs,
    metrics: createMetrics(),
    allocator: () => Promise.resolve({}),
    ...createClosers(log),
  };
  kit.opened(() => rm(folder, { recursive: true, force: true }));
  kit.opened(() => database.close());
  kit.opened(() => blobs.close());
  try {
    const { app } = await mountApi(kit);
    return app.swagger();
  } finally {
    await kit.close();
  }
}
