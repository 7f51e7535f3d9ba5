import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

import type { FaultProxy } from '../../packages/server/test/fault-proxy.js';
import { Api } from '../api.js';
import { main, pause } from '../running-server.js';
import type { Gates } from './gates.js';
import type { Installation, Victim } from './installation.js';
import { dueByNow } from './passing-time.js';
import { Broken, type Operation, type Scene, type Trial } from './scene.js';
import { attach, killAt, oneThread } from './tracer.js';

/** Whose calls are counted. `random`: none, the blow falls after so many milliseconds. */
export const means = ['postgres', 's3', 'disk', 'random'] as const;
export type Means = (typeof means)[number];

/** Where a process is killed. */
export interface Point {
  readonly means: Means;
  /** Which call, from 1. */
  readonly number: number;
  /** Before the call is heard, or when its answer is there; always `before` on disk. */
  readonly moment: 'before' | 'after';
}

/** What came of one point. */
export interface Outcome {
  readonly point: Point;
  /** False: the operation has no such call; it ended before. */
  readonly killed: boolean;
  readonly trial: Trial;
  /** What went wrong at once, beyond being cut off. */
  readonly fault?: string;
}

/** Nothing here takes longer unless it hangs. */
const patienceMs = 60_000;

/** A process to kill, started ahead. */
export type Spares = () => Promise<Victim>;

/** Runs an operation and kills its process at a point. Then the client, or a healthy process, goes on. */
export async function strike(
  scene: Scene,
  operation: Operation,
  point: Point,
  spares: Spares,
): Promise<Outcome> {
  // Before the trial is made: a worker that starts must not find its job before it is to be killed.
  const victim = operation.victim === 'command' ? undefined : await spares();
  try {
    const trial = await operation.prepare(scene);
    const { killed, fault } = victim
      ? await strikeServer(scene, operation, point, trial, victim)
      : await strikeCommand(scene.installation, point, trial);
    if (fault !== undefined) return { point, killed, trial, fault };
    try {
      await trial.resume?.();
      // Sweeps order pictures, and an API process may leave orders behind: those are nobody's steps any more.
      if (operation.victim !== 'api') await scene.installation.work();
    } catch (error) {
      return { point, killed, trial, fault: `afterwards: ${sentence(error)}` };
    }
    return { point, killed, trial };
  } finally {
    await victim?.end();
  }
}

interface Blow {
  readonly killed: boolean;
  readonly fault?: string;
}

async function strikeServer(
  { installation }: Scene,
  operation: Operation,
  point: Point,
  trial: Trial,
  victim: Victim,
): Promise<Blow> {
  const { server, gates } = victim;
  const { pid = 0 } = server.process;
  const died = new Promise<'died'>((resolve) => server.process.once('exit', () => resolve('died')));
  const tracer = point.means === 'disk' ? await attach(pid, point.number) : undefined;
  arm(point, gates, () => server.process.kill('SIGKILL'));
  let cut: unknown;
  const acting =
    operation.victim === 'worker'
      ? whenDone(installation, victim)
      : (trial.act?.(new Api(server.url, { ...installation.api.headers })) ?? Promise.resolve());
  const acted = acting.then(
    () => 'acted' as const,
    (error: unknown) => {
      cut = error;
      return 'cut' as const;
    },
  );
  const first = await Promise.race([acted, died, sleep(patienceMs, 'hung' as const, { ref: false })]);
  if (first === 'hung') return { killed: false, fault: `it hangs:\n${server.output()}` };
  // What was cut off was cut off by the blow, which may be a moment behind.
  const dead =
    first === 'died' || (await Promise.race([died, sleep(first === 'cut' ? 2_000 : 0)])) === 'died';
  if (dead) await Promise.race([acted, sleep(5_000)]);
  await victim.end();
  await tracer?.end();
  if (!dead && cut !== undefined) return { killed: false, fault: `without a blow: ${sentence(cut)}` };
  if (cut instanceof Broken) return { killed: dead, fault: sentence(cut) };
  return { killed: dead };
}

/** Lets a waiting worker go; resolves when it has done everything there is. */
async function whenDone({ db }: Installation, { server, gates }: Victim): Promise<void> {
  const { process: child } = server;
  gates.release();
  while (child.exitCode === null && child.signalCode === null) {
    if ((await dueByNow(db, `/${child.pid}`)) === 0) return;
    await pause(10);
  }
}

async function strikeCommand(installation: Installation, point: Point, trial: Trial): Promise<Blow> {
  const gates = await installation.gates();
  const args = [main, ...(trial.args ?? [])];
  const [program, all]: [string, readonly string[]] =
    point.means === 'disk'
      ? ['strace', [...killAt(point.number), process.execPath, ...args]]
      : [process.execPath, args];
  try {
    let child: ChildProcess | undefined = undefined;
    arm(point, gates, () => child?.kill('SIGKILL'));
    child = spawn(program, all, {
      env: { ...installation.environment(gates), ...oneThread },
      cwd: installation.folder,
      stdio: 'ignore',
    });
    const process_ = child;
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
      process_.once('exit', (...how) => resolve(how)),
    );
    const killed = signal === 'SIGKILL';
    if (!killed) return code === 0 ? { killed } : { killed, fault: `the command ended with ${code}` };
  } finally {
    await gates.close();
  }
  await installation.passTime();
  const again = await installation.command(...(trial.args ?? []));
  return again.code === 0
    ? { killed: true }
    : { killed: true, fault: `the command, run again, ended with ${again.code}: ${again.output}` };
}

function arm({ means: by, number, moment }: Point, gates: Gates, kill: () => void): void {
  if (by === 'disk') return;
  if (by === 'random') {
    setTimeout(kill, number).unref();
    return;
  }
  const proxy: FaultProxy | undefined = by === 's3' ? gates.s3 : gates.postgres;
  if (!proxy) throw new TypeError('the store of this installation is no S3 server');
  proxy.fail({
    from: number,
    fault: { kind: moment === 'before' ? 'reset' : 'lose-answer' },
    onFault: kill,
  });
}

/** An error in words. */
export function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error ? `${error.message} (${cause.message})` : error.message;
}
