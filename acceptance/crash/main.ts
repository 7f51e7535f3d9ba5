/**
 * The crash suite: kills a process of the built program at every call that an operation makes to PostgreSQL, to S3 or to
 * the file system, lets everything settle, and looks whether anything is lost, left over or half done.
 * See docs/testing-crashes.md. Run by scripts/crash.mjs.
 */
import { rm, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { commands } from './operations/commands.js';
import { lifecycle } from './operations/lifecycle.js';
import { uploads } from './operations/uploads.js';
import { every, sample } from './plan.js';
import { means as allMeans, type Means } from './points.js';
import { startPostgres } from './postgres.js';
import { createRandom } from './random.js';
import { replay, table, type Row } from './report.js';
import { runAll, runSample } from './run.js';
import { makeScenery } from './scenery.js';
import { canTrace } from './tracer.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    seconds: { type: 'string' },
    only: { type: 'string', multiple: true },
    means: { type: 'string', multiple: true },
    point: { type: 'string' },
    moment: { type: 'string' },
  },
});

/** Points of a sample, however slow the machine is. */
const fewest = 5;
const { seed } = values;
const began = performance.now();
const say = (line: string): void => console.log(line);

const operations = [...uploads, ...lifecycle, ...commands].filter(
  ({ name }) => values.only === undefined || values.only.includes(name),
);
if (operations.length === 0) throw new Error(`there is no operation ${values.only?.join(', ')}`);
const server = process.env['TEST_S3_RGW'] ?? process.env['TEST_S3_SWIFT'];
const s3 = server === undefined ? undefined : new URL(server);
const tracing = canTrace();
const possible: readonly Means[] = [
  'postgres',
  tracing ? 'disk' : 'random',
  ...(s3 === undefined ? [] : (['s3'] as const)),
];
for (const name of values.means ?? []) {
  if (!allMeans.some((known) => known === name))
    throw new Error(`there are no means ${name}: ${allMeans.join(', ')}`);
}
const used = values.means ? allMeans.filter((name) => values.means?.includes(name)) : possible;

say(`crash suite, seed ${seed}`);
if (!tracing) say('tracing is not allowed here (strace): on disk the blows fall at random moments');
if (s3 === undefined) say('no S3 server (TEST_S3_RGW, TEST_S3_SWIFT): its calls are not counted');

const scratch = await mkdtemp(join(tmpdir(), 'mbk-crash-'));
const postgres = await startPostgres(scratch);
let rows: readonly Row[] = [];
try {
  const scenery = await makeScenery(postgres, scratch);
  try {
    const random = createRandom(seed);
    if (values.point !== undefined) {
      const [operation] = operations;
      const [by = 'postgres'] = used;
      const moment = values.moment === 'after' ? 'after' : 'before';
      const point = { means: by, number: Number(values.point), moment } as const;
      rows = await runSample(scenery, operation ? [{ operation, point }] : [], { random, s3, say });
    } else if (values.seconds !== undefined) {
      const planned = sample(operations, used, random);
      const until = began + Number(values.seconds) * 1000;
      rows = await runSample(scenery, planned, { random, s3, say, until, atLeast: fewest });
    } else {
      rows = await runAll(scenery, operations, used, { every, random, s3, say });
    }
  } finally {
    scenery.source.close();
  }
} finally {
  await postgres.stop();
  await rm(scratch, { recursive: true, force: true, maxRetries: 5 });
}

const faults = rows.flatMap((row) => row.faults.map((fault) => ({ row, fault })));
for (const { row, fault } of faults) say(`\n${row.operation}: ${fault.text}\n  ${replay(row, fault, seed)}`);
say(`\n${table(rows)}`);
const points = rows.reduce((sum, row) => sum + row.killed, 0);
const seconds = Math.round((performance.now() - began) / 1000);
say(`\nseed ${seed}: ${points} kill points in ${seconds} s, ${faults.length} faults`);
const failed = Math.min(points, faults.length) || faults.length;
say(`${points - Math.min(points, failed)} passed, ${failed} failed, 0 skipped`);
process.exitCode = faults.length > 0 || points === 0 ? 1 : 0;
