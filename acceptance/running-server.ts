import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The built program. */
export const main = join(import.meta.dirname, '../packages/server/dist/main.js');

/** A process of the built program, seen from outside. */
export interface RunningServer {
  readonly url: string;
  readonly port: number;
  readonly dataFolder: string;
  readonly process: ChildProcess;
  /** All it has printed so far. */
  output(): string;
  /** Asks it to stop as a supervisor would; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL to it, to everything it started, and to its PostgreSQL. */
  killTree(): Promise<void>;
}

export interface StartOptions {
  readonly command?: 'start' | 'api' | 'worker';
  readonly dataFolder: string;
  readonly port?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Time in which it must be ready; 30 s when absent. */
  readonly readySeconds?: number;
  /** Told of the process before it is ready. */
  readonly onSpawn?: (child: ChildProcess) => void;
}

/** An empty folder for one test; `remove` it afterwards. */
export async function temporaryFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'mbk-acceptance-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}

/** The environment of a child: the settings given and nothing else of ours. */
export function environment(options: StartOptions, port: number): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    MBK_DATA_FOLDER: options.dataFolder,
    PORT: String(port),
    MBK_LOG_FORMAT: 'json',
    ...options.env,
  };
}

/** Runs a command of the built program to its end. */
export async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [main, ...args], { env, cwd: env['MBK_DATA_FOLDER'] ?? tmpdir() });
  const output = collect(child);
  const code = await exit(child);
  return { code, output: output() };
}

/** Starts the built program and resolves when it is ready (a worker: when it says so). */
export async function startServer(options: StartOptions): Promise<RunningServer> {
  const port = options.port ?? (await freePort());
  const command = options.command ?? 'start';
  const child = spawn(process.execPath, [main, command], {
    env: environment(options, port),
    cwd: options.dataFolder,
  });
  options.onSpawn?.(child);
  const output = collect(child);
  const ended = exit(child);
  const url = `http://127.0.0.1:${port}`;
  const ready = async (): Promise<boolean> =>
    command === 'worker' ? output().includes('the worker is ready') : (await status(`${url}/readyz`)) === 200;
  const seconds = options.readySeconds ?? 30;
  const end = Date.now() + seconds * 1000;
  while (!(await ready())) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${output()}`);
    if (Date.now() > end) {
      child.kill('SIGKILL');
      throw new Error(`the server is not ready after ${seconds} s:\n${output()}`);
    }
    await pause(25);
  }
  return {
    url,
    port,
    dataFolder: options.dataFolder,
    process: child,
    output,
    async stop() {
      child.kill('SIGTERM');
      return ended;
    },
    async killTree() {
      const pids = await tree(child.pid, options.dataFolder);
      for (const pid of pids) kill(pid);
      await ended;
      while (pids.some(alive)) await pause(10);
    },
  };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks again until the answer is true; throws with `what` when it never is. */
export async function until(what: string, seconds: number, test: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain: ${what}`);
    await pause(50);
  }
}

function collect(child: ChildProcess): () => string {
  const chunks: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}

function exit(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('close', (code) => resolve(code)));
}

async function status(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.status;
  } catch {
    // Nobody listens yet: that is the question's answer.
    return undefined;
  }
}

/** The process, all its descendants, and the PostgreSQL of its data folder with its own. */
async function tree(root: number | undefined, dataFolder: string): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => undefined);
    // A process that ended between the listing and the reading is nobody's child any more.
    if (stat === undefined) continue;
    parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const found = new Set<number>(root === undefined ? [] : [root]);
  const pidFile = await postmasterPid(dataFolder);
  if (pidFile !== undefined) found.add(pidFile);
  for (let grown = true; grown;) {
    grown = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grown = true;
      }
    }
  }
  return [...found];
}

async function postmasterPid(dataFolder: string): Promise<number | undefined> {
  for (const entry of await readdir(join(dataFolder, 'postgres'), { recursive: true }).catch(() => [])) {
    if (!entry.endsWith('postmaster.pid')) continue;
    const pid = Number.parseInt(await readFile(join(dataFolder, 'postgres', entry), 'utf8'), 10);
    if (pid > 0) return pid;
  }
  return undefined;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH: gone. EPERM cannot happen, we have just killed it.
    return false;
  }
}
