/**
 * npm run test:chaos — builds what changed and runs the chaos run in acceptance/chaos/. docs/testing-crashes.md says what it
 * proves.
 *
 *   --minutes 10      how long; 0.5 is half a minute
 *   --seed S          the same decisions again
 *   --store disk|s3   s3 where TEST_S3_RGW or TEST_S3_SWIFT names a server, else disk; asked for without one, a gateway is
 *                     installed (Debian packages, root) and started
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildOrExit } from './build.mjs';
import { isServerNamed, run, withServers } from './s3/servers.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
await buildOrExit();
const main = join(root, 'acceptance', 'chaos', 'main.ts');
const args = process.argv.slice(2);
const wantsServer = /--store[= ]s3\b/.test(args.join(' ')) && !isServerNamed();
process.exitCode = await withServers(wantsServer ? ['rgw'] : [], (environment) =>
  run(process.execPath, ['--import', import.meta.resolve('tsx'), main, ...args], environment),
);
