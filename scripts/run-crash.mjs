/**
 * Runs the crash suite as a process of its own; what it runs against has been built.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const main = join(dirname(fileURLToPath(import.meta.url)), '..', 'acceptance', 'crash', 'main.ts');
const summary = /^(\d+) passed, (\d+) failed, (\d+) skipped$/;

/**
 * @param {readonly string[]} args see scripts/crash.mjs
 * @param {Record<string, string>} [environment] besides this process's own
 * @returns {Promise<{passed: number, failed: number, skipped: number}>} of kill points; its output is shown, but for the
 * line that says these
 */
export async function runCrash(args, environment = {}) {
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), main, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...environment },
  });
  let counts;
  const lines = createInterface(child.stdout);
  lines.on('line', (line) => {
    const match = summary.exec(line);
    if (match) counts = { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3]) };
    else console.log(line);
  });
  const [[code]] = await Promise.all([once(child, 'exit'), once(lines, 'close')]);
  counts ??= { passed: 0, failed: 0, skipped: 0 };
  // What fails outside of any point counts as one.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}
