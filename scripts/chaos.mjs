/**
 * npm run test:chaos — builds what changed and runs the chaos run in acceptance/chaos/. docs/testing-crashes.md says what it
 * proves.
 *
 *   --minutes 10      how long; 0.5 is half a minute
 *   --seed S          the same decisions again
 *   --store disk|s3   s3 where TEST_S3_RGW or TEST_S3_SWIFT names a server, else disk
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildOrExit } from './build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
await buildOrExit();
const main = join(root, 'acceptance', 'chaos', 'main.ts');
const child = spawn(
  process.execPath,
  ['--import', import.meta.resolve('tsx'), main, ...process.argv.slice(2)],
  {
    stdio: 'inherit',
  },
);
const [code] = await once(child, 'exit');
process.exitCode = code ?? 1;
