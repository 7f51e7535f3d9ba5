import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import pg from 'pg';

import { Api } from '../api.js';
import { pause, run, startServer, type RunningServer } from '../running-server.js';
import { openGates, type Gates } from './gates.js';
import { dueByNow, makeOlder } from './passing-time.js';
import type { Postgres } from './postgres.js';
import { diskStore, s3Store, type Store } from './stores.js';

export interface InstallationOptions {
  readonly postgres: Postgres;
  readonly name: string;
  readonly scratch: string;
  /** An S3 server (`http://key:secret@host:port`); a disk when absent. */
  readonly s3?: URL | undefined;
  readonly settings?: Readonly<Record<string, string>>;
}

/** A process that may be killed, behind gates of its own. */
export interface Victim {
  readonly server: RunningServer;
  readonly gates: Gates;
  /** SIGKILL, and the end of its gates. */
  end(): Promise<void>;
}

/** An installation with a healthy API process and a healthy worker, which nobody kills. */
export interface Installation {
  readonly store: Store;
  /** Folder for what trials need. */
  readonly folder: string;
  readonly db: pg.Client;
  /** The healthy API, as its administrator. */
  readonly api: Api;
  /** Starts a process of the same installation; a worker waits before its first look for work. */
  start(command: 'api' | 'worker', env?: Readonly<Record<string, string>>): Promise<Victim>;
  /** Gates for a command. */
  gates(): Promise<Gates>;
  /** The environment of a command, by way of gates or directly. */
  environment(gates?: Gates): NodeJS.ProcessEnv;
  /** Runs a command in peace. */
  command(...args: readonly string[]): Promise<{ code: number | null; output: string }>;
  /** Lets the healthy worker do everything that is due; what dead workers held is due. */
  work(): Promise<void>;
  /** Lets two days go by for everything that waits for time to pass. */
  passTime(): Promise<void>;
  close(): Promise<void>;
}

/** Servers that run or start: none outlives this process, however it ends. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

export async function createInstallation(options: InstallationOptions): Promise<Installation> {
  const { postgres, name, scratch, s3 } = options;
  const folder = join(scratch, name);
  await mkdir(folder, { recursive: true });
  const url = await postgres.make(name);
  const store = s3 ? s3Store(s3, `mbk-crash-${randomBytes(6).toString('hex')}`) : diskStore(folder);
  const common = {
    MBK_JWT_SECRET: randomBytes(32).toString('base64'),
    MBK_LINK_SECRET: randomBytes(32).toString('base64'),
    MBK_IMAGING_PROCESSES: '1',
    MBK_ACCESS_LOG: 'false',
    MBK_DELIVERY: 'proxy',
    MBK_UPLOAD_STALE: '30s',
    MBK_ORPHAN_GRACE: '1s',
    MBK_QUARANTINE: '1s',
    MBK_DATABASE_POOL_SIZE: '5',
    ...options.settings,
  };
  const db = new pg.Client({ connectionString: url });
  // The next query tells.
  db.on('error', () => undefined);
  await db.connect();

  const start = async (
    command: 'api' | 'worker',
    env: Readonly<Record<string, string>> = {},
  ): Promise<Victim> => {
    const gates = await openGates(url, store, scratch);
    if (command === 'worker') gates.hold();
    // Starting is most of the work here, and collecting garbage a fifth of that.
    const settings = { NODE_OPTIONS: '--max-semi-space-size=64', ...common, ...gates.env, ...env };
    const server = await startServer({
      command,
      dataFolder: folder,
      env: settings,
      readySeconds: 120,
      onSpawn(child) {
        running.add(child);
        child.once('exit', () => running.delete(child));
      },
    });
    const ended = new Promise((resolve) => server.process.once('exit', resolve));
    return {
      server,
      gates,
      async end() {
        if (server.process.exitCode === null && server.process.signalCode === null) {
          server.process.kill('SIGKILL');
          await ended;
        }
        await gates.close();
      },
    };
  };
  const environment = (gates?: Gates): NodeJS.ProcessEnv => ({
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    MBK_DATA_FOLDER: folder,
    MBK_LOG_FORMAT: 'json',
    ...common,
    ...(gates?.env ?? { DATABASE_URL: url, ...store.env() }),
  });

  const healthy = await start('api');
  let worker: Victim | undefined;
  const api = await Api.register(healthy.server.url);

  return {
    store,
    folder,
    db,
    api,
    start,
    gates: () => openGates(url, store, scratch),
    environment,
    command: (...args) => run(args, environment()),
    async work() {
      worker ??= await start('worker');
      worker.gates.release();
      const end = Date.now() + 60_000;
      while ((await dueByNow(db, `/${worker.server.process.pid}`)) > 0) {
        if (Date.now() > end) throw new Error('the jobs do not end within 60 s');
        await pause(25);
      }
      worker.gates.hold();
    },
    async passTime() {
      await makeOlder(db);
      await store.age();
    },
    async close() {
      await worker?.end();
      await healthy.end();
      await db.end();
      store.close();
    },
  };
}
