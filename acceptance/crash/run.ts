import type { every, Planned } from './plan.js';
import { sentence, strike, type Means, type Outcome, type Spares } from './points.js';
import type { Random } from './random.js';
import type { Row } from './report.js';
import type { Operation, Scene } from './scene.js';
import { createSpares, makeScene, type Scenery } from './scenery.js';
import { settle } from './verdict.js';

interface RunOptions {
  readonly random: Random;
  readonly s3: URL | undefined;
  readonly say: (line: string) => void;
}

/** Every point of every operation; each operation in an installation of its own, which is judged when it has settled. */
export async function runAll(
  scenery: Scenery,
  operations: readonly Operation[],
  used: readonly Means[],
  { random, s3, say, every: all }: RunOptions & { readonly every: typeof every },
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const operation of operations) {
    for (const by of used) {
      const began = performance.now();
      const row = emptyRow(operation, by);
      rows.push(row);
      const scene = await makeScene(scenery, {
        name: `${operation.name}-${by}`,
        random,
        s3: by === 's3' ? s3 : undefined,
      });
      const runner = createPointRunner(scene);
      try {
        for (const planned of all(operation, by, () => !row.complete && row.faults.length < 5)) {
          await runner.run(planned, row);
        }
        await runner.judge();
      } catch (error) {
        row.faults.push({ text: `the suite itself: ${sentence(error)}` });
      } finally {
        await runner.close();
      }
      const seconds = Math.round((performance.now() - began) / 1000);
      say(
        `${operation.name}, ${by}: ${row.killed} kill points, fsck ${row.fsck}, ${row.faults.length} faults, ${seconds} s`,
      );
      for (const { text, point } of row.faults)
        say(`  ${point ? `${point.number} ${point.moment}: ` : ''}${text}`);
    }
  }
  return rows;
}

/** As many planned points as there is time for, all in one installation for each kind of store. */
export async function runSample(
  scenery: Scenery,
  planned: Iterable<Planned>,
  {
    random,
    s3,
    until = Infinity,
    atLeast = 0,
  }: RunOptions & { readonly until?: number; readonly atLeast?: number },
): Promise<readonly Row[]> {
  const rows = new Map<string, Row>();
  const runners = new Map<string, ReturnType<typeof createPointRunner>>();
  let done = 0;
  try {
    for (const { operation, point } of planned) {
      if (done >= atLeast && performance.now() > until) break;
      done += 1;
      const key = `${operation.name} ${point.means}`;
      const row = rows.get(key) ?? emptyRow(operation, point.means);
      rows.set(key, row);
      const store = point.means === 's3' ? 's3' : 'disk';
      let runner = runners.get(store);
      if (!runner) {
        const scene = await makeScene(scenery, {
          name: `sample-${store}`,
          random,
          s3: store === 's3' ? s3 : undefined,
        });
        runner = createPointRunner(scene);
        runners.set(store, runner);
      }
      await runner.run({ operation, point }, row);
    }
    for (const runner of runners.values()) await runner.judge();
  } finally {
    for (const runner of runners.values()) await runner.close();
  }
  return [...rows.values()].sort((a, b) => a.operation.localeCompare(b.operation));
}

function emptyRow({ name }: Operation, by: Means): Row {
  return {
    operation: name,
    means: by,
    killed: 0,
    acknowledged: 0,
    complete: false,
    fsck: 'not asked',
    faults: [],
  };
}

/** Runs points in one installation, and judges it at the end. */
function createPointRunner(scene: Scene) {
  const { installation } = scene;
  const spares = {
    api: createSpares(installation, 'api', 1),
    worker: createSpares(installation, 'worker', 1),
  };
  const outcomes: { readonly outcome: Outcome; readonly row: Row }[] = [];
  const none: Spares = () => Promise.reject(new TypeError('a command has no spare'));
  return {
    async run({ operation, point }: Planned, row: Row): Promise<void> {
      const take = operation.victim === 'command' ? none : spares[operation.victim].take;
      const outcome = await strike(scene, operation, point, take);
      outcomes.push({ outcome, row });
      if (outcome.killed) row.killed += 1;
      // Some calls have no answer (the end of a connection): only one that is never made was the last.
      else if (point.moment === 'before') row.complete = true;
      if (outcome.killed && outcome.trial.acknowledged()) row.acknowledged += 1;
      if (outcome.fault !== undefined) row.faults.push({ text: outcome.fault, point });
    },
    async judge(): Promise<void> {
      for (const { close } of Object.values(spares)) await close();
      const { fsck, faults } = await settle(installation);
      const [first] = outcomes;
      for (const text of faults) first?.row.faults.push({ text });
      for (const { outcome, row } of outcomes) {
        row.fsck = fsck;
        try {
          await outcome.trial.check();
        } catch (error) {
          row.faults.push({ text: sentence(error), point: outcome.point });
        }
      }
    },
    async close(): Promise<void> {
      for (const { close } of Object.values(spares)) await close();
      await installation.close();
    },
  };
}
