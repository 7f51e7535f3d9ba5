/**
 * npm run test:fuzz — sends requests made from openapi.json to the whole API until the time is over.
 *
 *   npm run test:fuzz -- --minutes 30
 *   npm run test:fuzz -- --minutes 30 --seed 42          the same requests again
 *   npm run test:fuzz -- --seed 42 --path 17:3:0         the one that failed, as the failure says it
 *
 * Prints the seed, how many requests there were, and how many answers had each status.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { buildOrExit } from './build.mjs';
import { runVitest } from './run-vitest.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string' },
    path: { type: 'string' },
  },
});
if (!(Number(values.minutes) > 0)) {
  console.error('--minutes must be a number above 0.');
  process.exit(1);
}
process.env.FUZZ_MINUTES = values.minutes;
if (values.seed !== undefined) process.env.FUZZ_SEED = values.seed;
if (values.path !== undefined) process.env.FUZZ_PATH = values.path;

await buildOrExit();
process.exit(await runVitest({ root: join(root, 'packages', 'server'), args: ['test/fuzz'] }));
