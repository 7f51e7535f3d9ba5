/**
 * The chaos run: clients send, read and delete on two API and two worker processes, while a nemesis kills, pauses, cuts,
 * hangs and slows, and fills the disk. Afterwards everything that was acknowledged must be so, and nothing else.
 * See docs/testing-crashes.md. Run by scripts/chaos.mjs.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { sentence } from '../crash/points.js';
import { startPostgres } from '../crash/postgres.js';
import { createRandom } from '../crash/random.js';
import { newProject } from '../crash/scene.js';
import { makeScene, makeScenery } from '../crash/scenery.js';
import { settle } from '../crash/verdict.js';
import { runClient } from './client.js';
import { startFleet } from './fleet.js';
import { judgeLedger, type Ledger } from './ledger.js';
import { nemesis } from './nemesis.js';
import { mountSmallDisk } from './small-disk.js';
import { createTally } from './tally.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string', default: '10' },
    store: { type: 'string' },
  },
});
const { seed } = values;
const clients = 8;
const server = process.env['TEST_S3_RGW'] ?? process.env['TEST_S3_SWIFT'];
const store = values.store ?? (server === undefined ? 'disk' : 's3');
if (store === 's3' && server === undefined) throw new Error('--store s3 needs TEST_S3_RGW or TEST_S3_SWIFT');
const s3 = store === 's3' && server !== undefined ? new URL(server) : undefined;
const say = (line: string): void => console.log(line);
const faults = new Set<string>();
const onFault = (fault: string): void => {
  if (!faults.has(fault)) say(`VIOLATION: ${fault}`);
  faults.add(fault);
};

say(`chaos run, seed ${seed}, ${values.minutes} minutes, store ${s3 ? `s3 at ${s3.host}` : 'disk'}`);
const scratch = await mkdtemp(join(tmpdir(), 'mbk-chaos-'));
const disk = s3 ? undefined : await mountSmallDisk(join(scratch, 'chaos'));
if (!s3)
  say(disk ? 'the disk is small and gets filled' : 'the disk is not filled: no tmpfs can be mounted here');
const postgres = await startPostgres(scratch);
const operations = createTally();
const injected = createTally();
try {
  const scenery = await makeScenery(postgres, scratch);
  const scene = await makeScene(scenery, {
    name: 'chaos',
    random: createRandom(seed),
    s3,
    settings: {
      MBK_UPLOAD_STALE: '6s',
      MBK_JOB_LEASE: '4s',
      MBK_UPLOAD_IDLE_TIMEOUT: '10s',
      UV_THREADPOOL_SIZE: '4',
    },
  });
  const fleet = await startFleet(scene.installation);
  try {
    const end = new AbortController();
    const bad = nemesis(fleet, {
      random: createRandom(`${seed} nemesis`),
      tally: injected,
      disk,
      signal: end.signal,
    });
    const ledgers: Ledger[] = [];
    for (let number = 0; number < clients; number++) {
      ledgers.push({ project: await newProject(scene), sent: new Map(), imports: new Map() });
    }
    const traffic = ledgers.map((ledger, number) =>
      runClient({
        number,
        scene,
        fleet,
        ledger,
        random: createRandom(`${seed} client ${number}`),
        tally: operations,
        onFault,
        signal: end.signal,
      }),
    );
    await Promise.race([sleep(Number(values.minutes) * 60_000), bad, Promise.all(traffic)]);
    end.abort();
    await Promise.all([bad, ...traffic]);
    await fleet.end();
    const { fsck, faults: left } = await settle(scene.installation);
    left.forEach(onFault);
    for (const ledger of ledgers) (await judgeLedger(scene, ledger)).forEach(onFault);
    const files = ledgers.flatMap(({ sent }) => [...sent.values()]);
    const acknowledged = files.filter(({ id }) => id !== undefined).length;
    say(`\noperations\n  ${operations.lines().join('\n  ')}`);
    say(`faults\n  ${injected.lines().join('\n  ')}`);
    say(`files sent: ${files.length}, acknowledged: ${acknowledged}; fsck: ${fsck}`);
  } finally {
    await fleet.end();
    await scene.installation.close();
    scenery.source.close();
  }
} catch (error) {
  onFault(`the run itself: ${sentence(error)}`);
  if (error instanceof Error) say(error.stack ?? '');
} finally {
  await postgres.stop();
  disk?.unmount();
  await rm(scratch, { recursive: true, force: true, maxRetries: 5 });
}
say(
  `\nseed ${seed}: ${operations.total} operations, ${injected.total} faults injected, ${faults.size} violations: ${faults.size === 0 ? 'all that was acknowledged holds' : 'FAILED'}`,
);
process.exitCode = faults.size === 0 ? 0 : 1;
