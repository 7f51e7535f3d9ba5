import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import pg from 'pg';
import type { TestProject } from 'vitest/node';

import { startEmbedded } from '../src/foundation/database/embedded.js';
import { findProcess } from '../src/foundation/database/embedded/process-table.js';
import { stopServer } from '../src/foundation/database/embedded/server.js';
import { migrate } from '../src/foundation/database/migrate.js';
import { createLog } from '../src/foundation/log.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Connects to the test server as a superuser. */
    databaseAdminUrl: string;
    /** Name of the migrated database that tests clone. */
    databaseTemplate: string;
  }
}

const folderPrefix = 'mbk-test-';

const log = await createLog({ level: 'warn', pretty: false });

/**
 * One PostgreSQL for the whole run: the embedded one in a temporary folder, or the server that
 * `TEST_DATABASE_URL` names (as a superuser). The schema is applied once, to a template database.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['TEST_DATABASE_URL'];
  const server = given ? { url: given, stop: async () => undefined } : await startServer();
  const template = `mbk_template_${process.pid}_${Date.now().toString(36)}`;
  try {
    await createTemplate(server.url, template);
  } catch (error) {
    await server.stop();
    throw error;
  }
  project.provide('databaseAdminUrl', server.url);
  project.provide('databaseTemplate', template);
  return async () => {
    if (given) {
      await asAdmin(server.url, `DROP DATABASE IF EXISTS ${template} WITH (FORCE)`);
    }
    await server.stop();
  };
}

async function createTemplate(adminUrl: string, template: string): Promise<void> {
  await asAdmin(adminUrl, `CREATE DATABASE ${template} TEMPLATE template0`);
  const url = new URL(adminUrl);
  url.pathname = `/${template}`;
  await migrate({ url: url.href, folder: new URL('../migrations/', import.meta.url), log });
  // Nobody may be connected to a template while it is cloned.
  await asAdmin(adminUrl, `ALTER DATABASE ${template} ALLOW_CONNECTIONS false`);
}

async function asAdmin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

async function startServer(): Promise<{ url: string; stop(): Promise<void> }> {
  await removeLeftovers();
  const folder = mkdtempSync(join(tmpdir(), `${folderPrefix}${process.pid}-`));
  const embedded = await startEmbedded({
    folder: join(folder, 'postgres'),
    log,
    // What a power cut would do to these databases does not matter.
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '200' },
  });
  return {
    url: embedded.url,
    async stop() {
      await embedded.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Servers and folders of earlier runs that were killed. */
async function removeLeftovers(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = new RegExp(`^${folderPrefix}(\\d+)-`).exec(name) ?? [];
    if (pid === undefined || findProcess(Number(pid))) continue;
    const folder = join(tmpdir(), name);
    await stopServer(join(folder, 'postgres', 'data'), log);
    rmSync(folder, { recursive: true, force: true });
  }
}
