import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Log } from '../log.js';
import { ensureCluster } from './embedded/cluster.js';
import { inWords } from './embedded/embedded-error.js';
import { claimFolder, prepareHome, type Home } from './embedded/home.js';
import { announce, othersPresent, socketUrl, type Presence } from './embedded/presence.js';
import { findPrograms, type Programs } from './embedded/programs.js';
import { boundLog, startServer, stopServer, untilSettled } from './embedded/server.js';
import { withStartLock } from './embedded/start-lock.js';

export interface EmbeddedOptions {
  /** `<data folder>/postgres`; made when it is not there. */
  readonly folder: string;
  readonly log: Log;
  /** Further PostgreSQL settings, which win over ours; for a server that this call starts. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface Embedded {
  /** Connection string (unix socket); stays the same as long as the folder does. */
  readonly url: string;
  /** True when the server was running already, started by another process or left by a killed one. */
  readonly adopted: boolean;
  /**
   * Leaves the server; the last process to leave stops it. Close your pools before. Never rejects for a server
   * that is gone already.
   */
  stop(): Promise<void>;
}

const logCheckMs = 60_000;

/**
 * Brings up the PostgreSQL that the package carries, or joins the one that runs on this folder. Any number of
 * processes may call it at once: one starts, the others join. The server is a process of its own session, listens on
 * a unix socket only, survives a kill −9 of its starter and is joined by the next one. Should it die while
 * we use it, it is started again.
 * @throws EmbeddedError with a sentence for a person when it cannot run here.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const programs = findPrograms();
  let folder: string;
  try {
    folder = claimFolder(options.folder);
    const entered = await enter(folder, programs, options);
    return supervise(folder, programs, options, entered);
  } catch (error) {
    throw inWords(error, options.folder);
  }
}

interface Entered {
  readonly home: Home;
  readonly presence: Presence;
  readonly socketFolder: string;
  readonly adopted: boolean;
}

/** Finds or starts the server and announces us to it, as one step that no other process can come between. */
function enter(folder: string, programs: Programs, { log, settings }: EmbeddedOptions): Promise<Entered> {
  return withStartLock(join(folder, 'lock'), async () => {
    const home = prepareHome({ folder, programs, log });
    await ensureCluster(home, log);
    const running = await untilSettled(home);
    const { socketFolder } = running ?? (await startServer(home, settings ?? {}, log));
    const presence = await announce(socketFolder);
    return { home, presence, socketFolder, adopted: running !== undefined };
  });
}

function supervise(folder: string, programs: Programs, options: EmbeddedOptions, first: Entered): Embedded {
  const { log } = options;
  let { presence } = first;
  let socketFolder = first.socketFolder;
  let stopped = false;
  const isStopped = (): boolean => stopped;

  const watching = (async () => {
    while (!isStopped()) {
      await presence.ended;
      if (isStopped()) return;
      log.warn('the embedded database went away; starting it again');
      await comeBack();
    }
  })();

  async function comeBack(): Promise<void> {
    for (let delay = 100; !isStopped(); delay = Math.min(delay * 2, 5_000)) {
      try {
        const again = await enter(folder, programs, options);
        presence = again.presence;
        socketFolder = again.socketFolder;
        log.info({ adopted: again.adopted }, 'the embedded database is back');
        return;
      } catch (error) {
        log.error({ err: error }, 'the embedded database does not come back; trying again');
        await sleep(delay);
      }
    }
  }

  const logCheck = setInterval(() => {
    try {
      boundLog(first.home.logFile);
    } catch (error) {
      log.warn({ err: error }, 'the log of the embedded database could not be cut');
    }
  }, logCheckMs);
  logCheck.unref();

  async function leave(): Promise<void> {
    clearInterval(logCheck);
    stopped = true;
    await presence.close();
    await watching;
    // Coming back may have replaced it meanwhile.
    await presence.close();
    await withStartLock(join(folder, 'lock'), async () => {
      const running = await untilSettled(first.home);
      if (!running) return;
      if (await othersPresent(socketFolder)) {
        log.debug('other processes use the embedded database; it goes on');
        return;
      }
      await stopServer(first.home.data, log);
    });
  }

  let left: Promise<void> | undefined;
  return {
    url: socketUrl(first.socketFolder),
    adopted: first.adopted,
    stop: () => (left ??= leave()),
  };
}
