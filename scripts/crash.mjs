/**
 * npm run test:crash — builds what changed and runs the crash suite in acceptance/crash/: every kill point of every
 * operation. docs/testing-crashes.md says what it proves. The last line is "N passed, N failed, N skipped".
 *
 *   --seconds 40                  a sample in the order of the seed, for so long; 120 with TEST_BOUNDED=1
 *   --seed S                      the same points again
 *   --only upload-raw             one operation; more than once: several
 *   --means postgres|disk|s3      what is counted. Calls to S3 where TEST_S3_RGW or TEST_S3_SWIFT names a server; asked for
 *                                 without one, a gateway is installed (Debian packages, root) and started
 *   --point 17 --moment after     one point
 */
import { buildOrExit } from './build.mjs';
import { runCrash } from './run-crash.mjs';
import { summary } from './run-vitest.mjs';
import { isServerNamed, withServers } from './s3/servers.mjs';

await buildOrExit();
const args = process.argv.slice(2);
// CI has no hours.
const bounded = process.env['TEST_BOUNDED'] === '1' && args.length === 0;
const wantsServer = /--means[= ]s3\b/.test(args.join(' ')) && !isServerNamed();
process.exitCode = await withServers(wantsServer ? ['rgw'] : [], async (environment) => {
  const counts = await runCrash(bounded ? ['--seconds', '120'] : args, environment);
  console.log(summary(counts));
  return counts.failed > 0 ? 1 : 0;
});
