/**
 * npm run bench:queue — our queue beside graphile-worker (default and localQueue) and pg-boss, on one PostgreSQL,
 * interleaved: every round measures each of them once, and the table shows medians of the rounds.
 *
 *   TEST_DATABASE_URL   a server to use (as superuser; a database is made and dropped); otherwise an embedded
 *                       PostgreSQL is started in a temporary folder with the settings of the product
 *   --rounds=5          rounds
 *   --jobs=5000         jobs to drain
 *   --million           besides: drain with a million waiting jobs in the table
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { register } from 'tsx/esm/api';

const here = dirname(fileURLToPath(import.meta.url));
const bench = join(here, '..');
if (!existsSync(join(bench, 'node_modules', 'pg-boss'))) {
  const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: bench, stdio: 'inherit' });
  if (installed.status !== 0) process.exit(installed.status ?? 1);
}

const option = (name, standard) => {
  const given = process.argv.find((argument) => argument.startsWith(`--${name}=`));
  return given ? Number(given.slice(name.length + 3)) : standard;
};

register();
const { createLog } = await import('../../packages/server/src/foundation/log.ts');
const { startEmbedded } = await import('../../packages/server/src/foundation/database/embedded.ts');
const { compare } = await import('./compare.mjs');

const log = await createLog({ level: 'error', pretty: false });
const given = process.env.TEST_DATABASE_URL;
const folder = given ? undefined : mkdtempSync(join(tmpdir(), 'mbk-bench-'));
const server = folder ? await startEmbedded({ folder: join(folder, 'postgres'), log }) : undefined;
try {
  await compare({
    adminUrl: given ?? server.url,
    log,
    rounds: option('rounds', 5),
    jobs: option('jobs', 5_000),
    million: process.argv.includes('--million'),
  });
} finally {
  await server?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
}
