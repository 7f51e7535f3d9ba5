import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { Log } from '../../log.js';
import { EmbeddedError, systemCode } from './embedded-error.js';
import type { Home } from './home.js';
import { processesAt } from './process-table.js';
import { handOver, run } from './runner.js';

/** Name of the only role, a superuser, and of our database. */
export const databaseName = 'mediablobkit';

const unfinishedPrefix = 'unfinished-';

/**
 * Makes the data folder when there is none, whole or not at all: it is made under another name and renamed. An
 * existing one must be of the major version that we bring. Under the start lock.
 */
export async function ensureCluster(home: Home, log: Log): Promise<void> {
  await removeUnfinished(home.folder, log);
  if (existsSync(join(home.data, 'PG_VERSION'))) {
    refuseOtherMajor(home);
    return;
  }
  if (existsSync(home.data)) await removeEmpty(home.data);
  log.info({ folder: home.folder }, 'making the embedded database');
  await initialise(home);
}

function refuseOtherMajor({ data, programs }: Home): void {
  const found = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim();
  if (found === String(programs.major)) return;
  throw new EmbeddedError(
    'wrong-major',
    `The database in ${data} is of PostgreSQL ${found}, and this MediaBlobKit brings PostgreSQL ${programs.major}. ` +
      'Run the version of MediaBlobKit that made it, or choose another MBK_DATA_FOLDER.',
  );
}

async function removeEmpty(data: string): Promise<void> {
  try {
    await rmdir(data);
  } catch (error) {
    throw new EmbeddedError(
      'not-a-cluster',
      `${data} holds something that is not a database of ours. Move it away, or choose another MBK_DATA_FOLDER.`,
      error,
    );
  }
}

async function initialise(home: Home): Promise<void> {
  const unfinished = join(home.folder, `${unfinishedPrefix}${randomBytes(4).toString('hex')}`);
  mkdirSync(unfinished, { mode: 0o700 });
  handOver(unfinished, home.runner);
  try {
    await initdb(home, unfinished);
    await rename(unfinished, home.data);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(home.folder);
}

/** The socket's folder is 0700, so whoever reaches the socket is trusted; there is no password to lose. */
async function initdb(home: Home, folder: string): Promise<void> {
  const options = ['--auth=trust', '--encoding=UTF8', '--locale=C', '--no-instructions'];
  const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const args = ['-D', folder, '-U', databaseName, ...options, ...locale];
  const child = run(home.runner, home.programs.initdb, args, ['ignore', 'ignore', 'pipe']);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4_000);
  });
  // `once` rejects when the program cannot be started.
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === 0) return;
  throw startFailure(home.folder, said);
}

/** The sentence for what initdb or postgres said before it gave up. */
export function startFailure(folder: string, said: string): EmbeddedError {
  if (/No space left on device|Disk quota exceeded|Check free disk space/.test(said)) {
    return new EmbeddedError(
      'disk-full',
      `There is no space left for the database in ${folder}.`,
      new Error(said),
    );
  }
  const lines = said.trim().split('\n');
  // The first fatal line is the cause; initdb's own complaint comes last.
  const line = lines.find((text) => /(FATAL|PANIC): /.test(text)) ?? lines.at(-1) ?? '';
  const reason = line.replace(/^.*?(FATAL|PANIC|ERROR|error): */, '');
  return new EmbeddedError(
    'start-failed',
    `The embedded PostgreSQL in ${folder} does not start: ${reason || 'it gave no reason'}.`,
    new Error(said),
  );
}

/**
 * Leftovers of a first start that was killed. Its initdb may still be writing, which ends within seconds; what
 * cannot be removed now is removed by a later start.
 */
async function removeUnfinished(folder: string, log: Log): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(unfinishedPrefix)) continue;
    try {
      // Its starter was killed, we hold the start lock, and nobody else knows this name: what still writes there is
      // an initdb that nobody waits for, and that would put files back while they are removed.
      for (const pid of processesAt(join(folder, name))) killIfThere(pid);
      await rm(join(folder, name), { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      log.warn({ err: error, name }, 'the rest of an interrupted first start stays for now');
    }
  }
}

/** Makes a rename durable (fsync of the folder). */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
