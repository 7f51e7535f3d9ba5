import { setTimeout as sleep } from 'node:timers/promises';

import { slowDown, type FaultProxy } from '../../packages/server/test/fault-proxy.js';
import type { Random } from '../crash/random.js';
import type { Berth, Fleet } from './fleet.js';
import type { SmallDisk } from './small-disk.js';
import type { Tally } from './tally.js';

interface Deed {
  readonly name: string;
  readonly weight: number;
  /** Does it, and undoes it after some time. */
  readonly run: (random: Random) => Promise<void>;
}

/** Longest time that a fault lasts: longer than leases and the silence of uploads. */
const longest = 7_000;

/**
 * Does one bad thing after the other to a fleet until the signal comes, and then leaves everything as it should be.
 * @param disk where the data folder lies when it can be filled.
 */
export async function nemesis(
  fleet: Fleet,
  {
    random,
    tally,
    disk,
    signal,
  }: { random: Random; tally: Tally; disk: SmallDisk | undefined; signal: AbortSignal },
): Promise<void> {
  const someone = (role?: Berth['role']): Berth =>
    random.pick(fleet.berths.filter((berth) => role === undefined || berth.role === role));
  const deeds: readonly Deed[] = [
    { name: 'kill API', weight: 3, run: () => fleet.kill(someone('api')) },
    { name: 'kill worker', weight: 3, run: () => fleet.kill(someone('worker')) },
    { name: 'pause', weight: 3, run: (r) => pauseProcess(someone(), 500 + r.below(longest)) },
    ...(['postgres', 's3'] as const).flatMap((which) => proxyDeeds(which, () => someone())),
    ...(disk ? [{ name: 'fill disk', weight: 3, run: (r: Random) => disk.full(500 + r.below(3_000)) }] : []),
  ];
  const there = deeds.filter(
    ({ name }) => !name.startsWith('s3') || fleet.berths[0]?.victim?.gates.s3 !== undefined,
  );
  const hat = there.flatMap((deed) => Array.from({ length: deed.weight }, () => deed));
  // Two at a time: a fault that meets another one finds what neither finds alone.
  await Promise.all(
    [0, 1].map(async () => {
      while (!signal.aborted) {
        await sleep(200 + random.below(1_500));
        const deed = random.pick(hat);
        tally.count(deed.name, 'done');
        await deed.run(random);
      }
    }),
  );
}

function proxyDeeds(which: 'postgres' | 's3', someone: () => Berth): readonly Deed[] {
  const on = async (work: (proxy: FaultProxy) => Promise<void> | void): Promise<void> => {
    const gates = someone().victim?.gates;
    const proxy = which === 'postgres' ? gates?.postgres : gates?.s3;
    if (proxy) await work(proxy);
  };
  return [
    { name: `${which} cut`, weight: 2, run: () => on((proxy) => proxy.cut()) },
    {
      name: `${which} hang`,
      weight: 2,
      run: (random) =>
        on(async (proxy) => {
          proxy.hang();
          await sleep(300 + random.below(longest));
          proxy.flow();
        }),
    },
    {
      name: `${which} slow`,
      weight: 1,
      run: (random) =>
        on(async (proxy) => {
          proxy.slow(20_000 + random.below(100_000));
          await sleep(300 + random.below(3_000));
          proxy.flow();
        }),
    },
    {
      name: `${which} answers lost`,
      weight: 3,
      run: (random) =>
        on(async (proxy) => {
          const from = 1 + random.below(20);
          const remove = proxy.fail({
            from,
            every: 1 + random.below(9),
            times: 3,
            fault: { kind: 'lose-answer' },
          });
          await sleep(3_000);
          remove();
        }),
    },
    {
      name: which === 's3' ? 's3 says slow down' : 'postgres calls lost',
      weight: 2,
      run: (random) =>
        on(async (proxy) => {
          const fault = which === 's3' ? slowDown : ({ kind: 'reset' } as const);
          const remove = proxy.fail({ from: 1 + random.below(10), every: 2, times: 6, fault });
          await sleep(2_000);
          remove();
        }),
    },
  ];
}

async function pauseProcess({ victim }: Berth, ms: number): Promise<void> {
  if (!victim) return;
  victim.server.process.kill('SIGSTOP');
  await sleep(ms);
  // Killed meanwhile, it hears nothing of it.
  victim.server.process.kill('SIGCONT');
}
