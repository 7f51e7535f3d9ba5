import { createServer } from 'node:net';

import closeWithGrace from 'close-with-grace';

import type { Settings } from '../config.js';
import { buildKit } from '../kit.js';
import { openWeb, type Web } from '../web.js';
import { openWork } from '../work.js';
import { firstSteps, writeSample } from './first-steps.js';
import { openLog } from './open-log.js';
import { StartError } from './plain-errors.js';
import { version } from '../version.js';

/** What a process does: everything, the API, or background work. */
export type Role = 'all' | 'api' | 'worker';

/** Time to break off what did not end by itself, and to close everything: store calls, jobs, connections. */
const breakOffMs = 15_000;

/**
 * Runs the server until it is told to stop (SIGTERM, SIGINT). On the way down nothing new is taken, what
 * runs gets `MBK_SHUTDOWN_TIMEOUT` to end, and everything opened is closed in the opposite order.
 */
export async function start(role: Role, settings: Settings, print: (line: string) => void): Promise<void> {
  if (role !== 'worker') await demandFreePort(settings);
  const log = await openLog(settings);
  const kit = await buildKit(settings, log, role);
  closeWithGrace({ delay: settings.shutdownTimeoutMs + breakOffMs, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'an error nobody expected; stopping');
    else log.info({ signal }, 'stopping');
    await kit.close();
    log.info('stopped');
  });
  let web: Web | undefined;
  try {
    if (role !== 'api') await openWork(kit);
    if (role !== 'worker') web = await openWeb(kit);
  } catch (error) {
    await kit.close();
    throw inPlainWords(error, settings);
  }
  if (role === 'worker') log.info({ version }, 'the worker is ready');
  if (web) await greet(web, settings, print);
}

/** Prints where things are; with a sample picture and three commands as long as nobody has registered. */
async function greet(web: Web, settings: Settings, print: (line: string) => void): Promise<void> {
  const fresh = !(await web.anybody());
  print(
    firstSteps({
      version,
      localUrl: `http://${settings.host.includes(':') ? `[${settings.host}]` : settings.host}:${settings.port}`,
      publicUrl: settings.publicUrl,
      dataFolder: settings.dataFolder,
      database:
        settings.databaseUrl === undefined
          ? 'embedded PostgreSQL, in the data folder'
          : 'external PostgreSQL',
      store: settings.store === 's3' ? `S3, bucket ${settings.s3Bucket ?? ''}` : 'disk, in the data folder',
      readyMs: process.uptime() * 1000,
      ...(fresh ? { samplePath: await writeSample(settings.dataFolder) } : {}),
    }),
  );
}

/** Refuses before anything is started; most often the server simply runs already. */
async function demandFreePort(settings: Settings): Promise<void> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error) => reject(inPlainWords(error, settings)));
    probe.listen(settings.port, settings.host, () => probe.close(() => resolve()));
  });
}

function inPlainWords(error: unknown, { host, port }: Settings): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return new StartError(
        `Port ${port} is taken by another program (perhaps MediaBlobKit runs already). Stop it, or choose another: PORT=${port + 1} npm start`,
      );
    case 'EACCES':
      return new StartError(
        `This user may not listen on port ${port}. Choose one above 1023: PORT=8420 npm start`,
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new StartError(
        `HOST is ${host}, which is no address of this machine. Use 127.0.0.1 or 0.0.0.0.`,
      );
    default:
      return error;
  }
}
