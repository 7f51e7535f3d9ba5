import type { ChildProcess } from 'node:child_process';
import { closeSync, copyFileSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Log } from '../../log.js';
import { startFailure } from './cluster.js';
import { EmbeddedError } from './embedded-error.js';
import type { Home } from './home.js';
import { findPostmaster, removeStalePidFile, type Postmaster } from './postmaster.js';
import { run } from './runner.js';

/** Given on the command line at every start, so that a new version of ours changes them; the files stay initdb's. */
const settings: Readonly<Record<string, string>> = {
  listen_addresses: '',
  unix_socket_permissions: '0700',
  shared_buffers: '64MB',
  max_connections: '100',
  // Nobody replicates from it.
  wal_level: 'minimal',
  max_wal_senders: '0',
  // The default, worker processes, costs memory and gains nothing at this size.
  io_method: 'sync',
  // Statements here are short; compiling them is not worth it.
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  cluster_name: 'mediablobkit',
};

const pollMs = 10;
/** Ready takes 0.1–0.35 s, crash recovery minutes at worst. */
const readyTimeoutMs = 240_000;
/** After kill −9 of the server its backends go within milliseconds of noticing; one in a long statement later. */
const sharedMemoryTimeoutMs = 10_000;
const stopTimeoutMs = 20_000;
const logLimitBytes = 4 * 1024 * 1024;

/**
 * Starts a server on the data folder, where none runs, and waits until it is ready. The server outlives us unless it
 * is stopped. Under the start lock.
 */
export async function startServer(
  home: Home,
  extra: Readonly<Record<string, string>>,
  log: Log,
): Promise<Postmaster> {
  if (removeStalePidFile(home.data)) log.info('removed the pid file of a database server that is gone');
  boundLog(home.logFile);
  const deadline = Date.now() + sharedMemoryTimeoutMs;
  while (true) {
    const before = sizeOf(home.logFile);
    const child = launch(home, extra);
    const started = await untilReady(home, child, log);
    if (started) return started;
    const said = readFileSync(home.logFile).subarray(before).toString('utf8');
    if (!said.includes('shared memory block') || Date.now() > deadline) throw startFailure(home.folder, said);
    await sleep(100);
  }
}

function launch(home: Home, extra: Readonly<Record<string, string>>): ChildProcess {
  const given = { ...settings, unix_socket_directories: quoted(home.socketFolder), ...extra };
  const args = Object.entries(given).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const file = openSync(home.logFile, 'a', 0o600);
  try {
    const child = run(
      home.runner,
      home.programs.postgres,
      ['-D', home.data, ...args],
      ['ignore', file, file],
    );
    child.unref();
    return child;
  } finally {
    closeSync(file);
  }
}

/** The setting is a list; a folder's name may hold a comma. */
function quoted(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}

/** The server once it is ready; undefined when it ended before. */
async function untilReady(home: Home, child: ChildProcess, log: Log): Promise<Postmaster | undefined> {
  const outcome: { ended: boolean; failure?: Error } = { ended: false };
  child.once('exit', () => {
    outcome.ended = true;
  });
  child.once('error', (error) => {
    outcome.failure = error;
  });
  for (let waited = 0; waited < readyTimeoutMs; waited += pollMs) {
    const found = findPostmaster(home.data);
    if (found?.pid === child.pid && found?.status === 'ready') return found;
    if (outcome.failure) throw outcome.failure;
    if (outcome.ended) return undefined;
    if (waited === 3_000) log.info('the database is recovering; this can take a while');
    await sleep(pollMs);
  }
  throw hung(home.folder, child.pid);
}

/** Waits for a server that somebody else started. Undefined when it ended or was stopping. */
export async function untilSettled(home: Pick<Home, 'data' | 'folder'>): Promise<Postmaster | undefined> {
  for (let waited = 0; waited < readyTimeoutMs; waited += pollMs) {
    const found = findPostmaster(home.data);
    if (!found || found.status === 'ready') return found;
    await sleep(pollMs);
  }
  throw hung(home.folder, findPostmaster(home.data)?.pid);
}

function hung(folder: string, pid: number | undefined): EmbeddedError {
  return new EmbeddedError(
    'start-failed',
    `The embedded PostgreSQL in ${folder} (process ${pid ?? 'unknown'}) runs but does not become ready; see ${folder}/log.`,
  );
}

/** Stops the server: connections are cut, everything is on disk. Under the start lock. */
export async function stopServer(data: string, log: Log): Promise<void> {
  // SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one, after which the next start recovers.
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    const running = findPostmaster(data);
    if (!running) return;
    if (signal === 'SIGQUIT') log.warn({ pid: running.pid }, 'the database does not stop; cutting it off');
    process.kill(running.pid, signal);
    for (let waited = 0; waited < stopTimeoutMs; waited += pollMs) {
      if (findPostmaster(data)?.pid !== running.pid) return;
      await sleep(pollMs);
    }
  }
  log.error('the database did not stop');
}

/**
 * Keeps the server's log below twice the limit: what is there is copied to `log.1`, and the file, which the server
 * holds open for appending, is cut. Lines written in between are lost.
 */
export function boundLog(logFile: string): void {
  if (sizeOf(logFile) <= logLimitBytes) return;
  copyFileSync(logFile, `${logFile}.1`);
  truncateSync(logFile, 0);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
