/**
 * npm run test:clients — runs upload and download clients that nobody here wrote against the built server: installs
 * them (npm ci in clients/, Debian packages when root), starts the S3 server that they need, runs clients/*.test.mjs.
 *
 *   npm run test:clients -- uppy           the suites whose name contains it: curl, tus, uppy, s3-tools
 *   npm run test:clients -- -t "range"     arguments that begin with - go to vitest
 *   MBK_CLIENTS_SCREENSHOTS=FOLDER         keeps pictures of the browser's pages
 *   TEST_S3_RGW=http://KEY:SECRET@HOST     an S3 server that runs already
 *
 * The last line is "N passed, N failed, N skipped".
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildOrExit } from './build.mjs';
import { must, run, withServers } from './s3/servers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const clients = join(root, 'clients');

/** What each suite needs besides Node.js. */
const suites = {
  curl: { packages: ['curl'], servers: [] },
  tus: { packages: [], servers: ['rgw'] },
  uppy: { packages: ['chromium'], servers: ['rgw'] },
  's3-tools': { packages: ['awscli', 's3cmd'], servers: ['rgw'] },
};

/** npm ci takes seconds; what is installed already is recognised by the lock file that npm leaves behind. */
async function installPackages() {
  const read = (path) => readFile(join(clients, path), 'utf8').catch(() => '');
  const versions = (text) =>
    Object.entries(JSON.parse(text || '{}').packages ?? {})
      .filter(([path]) => path !== '')
      .map(([path, { version }]) => `${path}@${version}`)
      .join('\n');
  const [wanted, present] = await Promise.all([
    read('package-lock.json'),
    read('node_modules/.package-lock.json'),
  ]);
  if (versions(wanted) === versions(present)) return;
  // Some of Uppy's packages ask for a newer Node.js than they need: they run in the browser.
  await must('npm', ['ci', '--prefix', clients, '--no-audit', '--no-fund', '--loglevel', 'error']);
}

const args = process.argv.slice(2);
// Options may have values, so names are what stands before the first of them.
const firstOption = args.findIndex((arg) => arg.startsWith('-'));
const names = firstOption < 0 ? args : args.slice(0, firstOption);
const options = firstOption < 0 ? [] : args.slice(firstOption);
const chosen = Object.keys(suites).filter(
  (suite) => names.length === 0 || names.some((name) => suite.includes(name)),
);
if (chosen.length === 0) {
  console.error(`no suite is called ${names.join(' or ')}; there are ${Object.keys(suites).join(', ')}`);
  process.exit(2);
}
const needs = (what) => [...new Set(chosen.flatMap((suite) => suites[suite][what]))];

await buildOrExit();
await installPackages();
await must('bash', [join(root, 'scripts', 'debian.sh'), ...needs('packages')]);
// An interrupt reaches the children too; the run below then ends, and the servers are stopped.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.exitCode = await withServers(needs('servers'), (environment) =>
  run(
    process.execPath,
    [join(clients, 'run.mjs'), ...chosen.map((suite) => `${suite}.test.mjs`), ...options],
    environment,
  ),
);
