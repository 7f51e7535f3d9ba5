/**
 * npm run test:crash — builds what changed and runs the crash suite in acceptance/crash/: every kill point of every
 * operation. docs/testing-crashes.md says what it proves. The last line is "N passed, N failed, N skipped".
 *
 *   --seconds 40                  a sample in the order of the seed, for so long
 *   --seed S                      the same points again
 *   --only upload-raw             one operation; more than once: several
 *   --means postgres|disk|s3      what is counted; without TEST_S3_RGW or TEST_S3_SWIFT no calls to S3
 *   --point 17 --moment after     one point
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildOrExit } from './build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
await buildOrExit();
const main = join(root, 'acceptance', 'crash', 'main.ts');
const child = spawn(
  process.execPath,
  ['--import', import.meta.resolve('tsx'), main, ...process.argv.slice(2)],
  {
    stdio: 'inherit',
  },
);
const [code] = await once(child, 'exit');
process.exitCode = code ?? 1;
