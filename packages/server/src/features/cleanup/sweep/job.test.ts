import { afterEach, beforeEach, expect, it } from 'vitest';

import { createSweepScene, type SweepScene } from '../../../../test/sweep-scene.js';
import { writeIdentity } from '../../../foundation/blobs/identity.js';
import { newId } from '../../../foundation/ids.js';
import { createLog } from '../../../foundation/log.js';
import { createMetrics, type Metrics } from '../../../foundation/metrics.js';
import { PermanentFailure, type JobHandler } from '../../../foundation/queue/define.js';
import { inTransaction } from '../../projects/queries.js';
import { createSweepWork } from './job.js';
import { takeSweep } from './state-queries.js';

let scene: SweepScene;
let metrics: Metrics;
let handler: JobHandler;
beforeEach(async () => {
  scene = await createSweepScene();
  metrics = createMetrics();
  handler = work('report', metrics).handlers[0]!;
  await scene.file();
});
afterEach(() => scene.close());

function work(policy: 'off' | 'report' | 'delete', metrics = createMetrics()) {
  return createSweepWork({
    db: scene.db,
    blobs: scene.blobs,
    graceSeconds: 86_400,
    quarantineSeconds: 86_400,
    maxDeletes: 10,
    brakePercent: 10,
    remedies: { onDamage: () => Promise.resolve(), renderAgain: () => Promise.resolve(false) },
    metrics,
    policy,
  });
}

async function run(mode: 'report' | 'delete', id = newId()): Promise<void> {
  await handler.run({
    id,
    payload: { mode },
    projectId: null,
    attempt: 1,
    lastAttempt: false,
    signal: new AbortController().signal,
    log: await createLog({ level: 'silent', pretty: false }),
    finish: (work) => inTransaction(scene.db, work),
  });
}

it('is on the timetable as the settings say', () => {
  expect(work('off').timetable).toEqual([]);
  expect(work('report').timetable).toMatchObject([{ name: 'sweep-blobs', payload: { mode: 'report' } }]);
  expect(work('delete').timetable).toMatchObject([{ name: 'sweep-blobs', payload: { mode: 'delete' } }]);
});

it('reports by default, cleans when it is told to, and counts both', async () => {
  const key = await scene.blob(scene.strayKey());
  await run('report');
  expect(await scene.blobs.stat(key)).toBeDefined();
  await run('delete');
  expect(await scene.blobs.stat(key)).toBeUndefined();
  const text = await metrics.registry.metrics();
  expect(text).toContain('mediablobkit_sweep_findings_total{kind="orphan"} 2');
  expect(text).toContain('mediablobkit_sweep_blobs_total{done="quarantined"} 1');
  expect(text).toContain('mediablobkit_sweeps_total{end="finished"} 2');
});

it('becomes a dead letter at once over another’s store', async () => {
  await writeIdentity(scene.blobs, newId());
  await expect(run('delete')).rejects.toThrow(PermanentFailure);
});

it('is tried again while somebody else sweeps, and takes its own sweep up after a crash', async () => {
  const id = newId();
  await takeSweep(scene.db, { mode: 'report', projectId: null, holder: id, leaseSeconds: 60 });
  await expect(run('report')).rejects.toThrow(/^another sweep is under way/);
  await run('report', id);
  expect(await scene.db.selectFrom('sweeps').select('status').execute()).toEqual([{ status: 'finished' }]);
});
