/**
 * npm run check — everything that must hold before a commit is shared, in the order in which faults are
 * cheapest to find: format, lint, types, floors, generated files, tests, acceptance. Stops at the first
 * failure with its output. The last line is the test command's own summary.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Names of npm scripts; those that take long show their output while they run. */
const steps = [
  { name: 'format:check' },
  { name: 'lint' },
  { name: 'types' },
  { name: 'floors' },
  { name: 'generate:check' },
  { name: 'test', shown: true },
  { name: 'acceptance', shown: true },
];

/** @returns {Promise<{code: number, output: string}>} */
async function run({ name, shown }) {
  const child = spawn('npm', ['run', '--silent', name], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const [stream, sink] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (shown) sink.write(text);
    });
  }
  // "close" and not "exit": the output is whole.
  const [code] = await once(child, 'close');
  return { code: code ?? 1, output };
}

/** The last line of a test run's output. */
const summaryOf = (output) => output.match(/^\d+ passed, \d+ failed, \d+ skipped$/gm)?.at(-1);

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const rows = [];
let tests;
const began = performance.now();
for (const step of steps) {
  const start = performance.now();
  if (step.shown) console.log(`\n— ${step.name}`);
  const { code, output } = await run(step);
  const time = seconds(performance.now() - start);
  const summary = summaryOf(output);
  rows.push(`${step.name.padEnd(16)}${time.padStart(9)}${summary ? `   ${summary}` : ''}`);
  if (step.name === 'test') tests = summary;
  if (code !== 0) {
    if (!step.shown) process.stderr.write(output);
    console.error(`\n${rows.join('\n')}\n\ncheck failed at ${step.name}`);
    if (tests) console.error(tests);
    process.exit(1);
  }
  if (!step.shown) console.log(rows.at(-1));
}
console.log(
  `\n${rows.join('\n')}\n${'together'.padEnd(16)}${seconds(performance.now() - began).padStart(9)}\n\n${tests}`,
);
