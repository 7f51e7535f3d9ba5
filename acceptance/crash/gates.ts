import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { startFaultProxy, type FaultProxy } from '../../packages/server/test/fault-proxy.js';
import { targetOf, through } from './postgres.js';
import type { Store } from './stores.js';

/** What stands between one process and its surroundings. */
export interface Gates {
  readonly postgres: FaultProxy;
  /** Undefined with a store on disk. */
  readonly s3: FaultProxy | undefined;
  /** Settings that lead a process through them. */
  readonly env: Readonly<Record<string, string>>;
  /** From now on the process's runner waits at its next look for work, until `release`. */
  hold(): void;
  release(): void;
  close(): Promise<void>;
}

/** The statements with which a process looks for work. */
const looksForWork = /SKIP LOCKED/i;

/** Gates for one process. In front of a unix socket stands a unix socket, in front of a port a port. */
export async function openGates(databaseUrl: string, store: Store, scratch: string): Promise<Gates> {
  const target = targetOf(databaseUrl);
  const folder = 'path' in target ? await mkdtemp(join(scratch, 'g')) : undefined;
  const postgres = await startFaultProxy({
    target,
    speaks: 'bytes',
    ...(folder === undefined ? {} : { listen: join(folder, '.s.PGSQL.5432') }),
  });
  const s3 = store.target && (await startFaultProxy({ target: store.target, speaks: 'http' }));
  let go: (() => void) | undefined;
  const release = (): void => {
    go?.();
    go = undefined;
  };
  return {
    postgres,
    s3,
    env: {
      DATABASE_URL: through(databaseUrl, folder === undefined ? { port: postgres.port } : { folder }),
      ...store.env(s3?.port),
    },
    hold() {
      if (go) return;
      let open: () => void = () => undefined;
      const until = new Promise<void>((resolve) => (open = resolve));
      const remove = postgres.fail({ match: looksForWork, times: Infinity, fault: { kind: 'hold', until } });
      go = () => {
        remove();
        open();
      };
    },
    release,
    async close() {
      release();
      await postgres.close();
      await s3?.close();
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}
