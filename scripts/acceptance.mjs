/**
 * npm run acceptance — builds what changed and runs the black-box suite in acceptance/, which starts the
 * built server and sees it only from outside. Arguments go to vitest.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildOrExit } from './build.mjs';
import { runVitest } from './run-vitest.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
await buildOrExit();
const code = await runVitest({
  root: join(root, 'acceptance'),
  args: process.argv.slice(2).map((arg) => arg.replace(/^(\.\/)?acceptance\//, '')),
});
process.exit(code);
