import type { Installation, Victim } from '../crash/installation.js';
import type { Random } from '../crash/random.js';

type Role = 'api' | 'worker';

/** A place that is always taken again by a process of its role. */
export interface Berth {
  readonly role: Role;
  /** Undefined while a killed one is being replaced. */
  victim: Victim | undefined;
}

/** The processes that bear the traffic and the faults. */
export interface Fleet {
  readonly berths: readonly Berth[];
  /** The address of an API process that is there; undefined while there is none. */
  address(random: Random): string | undefined;
  /** SIGKILL; a new one takes its place. */
  kill(berth: Berth): Promise<void>;
  /** Ends all, and replaces none. */
  end(): Promise<void>;
}

/** Starts two API and two worker processes. */
export async function startFleet(installation: Installation): Promise<Fleet> {
  const roles: readonly Role[] = ['api', 'api', 'worker', 'worker'];
  const launch = async (role: Role): Promise<Victim> => {
    const victim = await installation.start(role);
    victim.gates.release();
    return victim;
  };
  const berths: Berth[] = [];
  for (const role of roles) berths.push({ role, victim: await launch(role) });
  return {
    berths,
    address(random) {
      const there = berths.filter(({ role, victim }) => role === 'api' && victim !== undefined);
      return there.length === 0 ? undefined : random.pick(there).victim?.server.url;
    },
    async kill(berth) {
      const { victim } = berth;
      if (!victim) return;
      berth.victim = undefined;
      await victim.end();
      berth.victim = await launch(berth.role);
    },
    async end() {
      await Promise.all(berths.map(async ({ victim }) => victim?.end()));
    },
  };
}
