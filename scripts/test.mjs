/**
 * npm test — builds what changed (tests start child processes from the build), runs the fast suite of the server, and
 * then, when nothing was chosen, the crash suite for a third of a minute (docs/testing-crashes.md). Arguments go to vitest;
 * paths may be written from the repository's root:
 *
 *   npm test -- packages/server/src/features/uploads
 *   npm test -- -t "refuses"
 *   npm run test:coverage      with a table of what features/ and foundation/ leave uncovered
 *   npm run test:long          packages/server/test/long: minutes, not seconds
 *
 * The last line is "N passed, N failed, N skipped".
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildOrExit } from './build.mjs';
import { runCrash } from './run-crash.mjs';
import { runVitest } from './run-vitest.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const flags = ['--coverage', '--long', '--without-crashes'];
const args = process.argv.slice(2).filter((arg) => !flags.includes(arg));
const long = process.argv.includes('--long');
const coverage = process.argv.includes('--coverage');
const everything = args.length === 0 && !flags.some((flag) => process.argv.includes(flag));

await buildOrExit();
const code = await runVitest({
  ...(everything ? { further: () => runCrash(['--seconds', '20']) } : {}),
  root: join(root, 'packages', 'server'),
  args: args.map((arg) => arg.replace(/^(\.\/)?packages\/server\//, '')),
  overrides: {
    ...(long
      ? // One file after another: each uses the machine fully, and measures.
        {
          include: ['test/long/**/*.long.ts'],
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 300_000,
        }
      : { exclude: ['test/long/**', '**/node_modules/**'] }),
    ...(coverage
      ? {
          coverage: {
            enabled: true,
            provider: 'v8',
            reporter: ['text', 'json-summary'],
            reportsDirectory: join(root, 'coverage'),
          },
        }
      : {}),
  },
});
process.exit(code);
