/**
 * Runs vitest in this process and says the outcome in one plain line at the very end, after everything the
 * runner, its coverage and its teardown print: "812 passed, 0 failed, 3 skipped".
 */
import { parseCLI, startVitest } from 'vitest/node';

/**
 * @param {object} run
 * @param {string} run.root folder of the vitest.config.ts
 * @param {readonly string[]} run.args what the person wrote behind the command: filters and options of vitest
 * @param {object} [run.overrides] settings that win over the config file
 * @param {() => Promise<{passed: number, failed: number, skipped: number}>} [run.further] what else is run afterwards and
 * counted
 * @returns {Promise<number>} exit code
 */
export async function runVitest({ root, args, overrides = {}, further }) {
  const { filter, options } = parseCLI(['vitest', 'run', ...args]);
  const vitest = await startVitest('test', filter, {
    ...options,
    run: true,
    watch: false,
    root,
    ...overrides,
  });
  await vitest.close();
  const counts = count(vitest);
  const nothingRan = counts.passed + counts.skipped === 0 && !options.passWithNoTests;
  // What fails outside of any test (global setup, coverage thresholds, no file found) counts as one, so that
  // the line never reads like a success when the exit code is none.
  if (counts.failed === 0 && (process.exitCode || nothingRan)) counts.failed = 1;
  if (further) {
    const more = await further();
    for (const outcome of Object.keys(counts)) counts[outcome] += more[outcome];
  }
  // Nobody who pipes the output may lose its end.
  await new Promise((resolve) => process.stderr.write('', resolve));
  await new Promise((resolve) => process.stdout.write(`${summary(counts)}\n`, resolve));
  return counts.failed > 0 ? 1 : 0;
}

/** @returns {string} the line that CI and people look for */
export function summary({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function count(vitest) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const module of vitest.state.getTestModules()) {
    let failedTests = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed') counts.passed += 1;
      else if (state === 'skipped') counts.skipped += 1;
      // A test that is still pending when the run is over did not pass.
      else failedTests += 1;
    }
    // A file that cannot be loaded, or whose hooks fail, has no failed test to show for it.
    counts.failed += module.state() === 'failed' ? Math.max(1, failedTests) : failedTests;
  }
  counts.failed += vitest.state.getUnhandledErrors().length;
  return counts;
}
