import { createHash, randomBytes } from 'node:crypto';
import { lstat, open, readFile, readlink, unlink, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isAbsent } from './disk-errors.js';
import { fileMode, openFolder } from './disk-folders.js';

/** A file that is being written and has no key yet. */
export interface Temporary {
  readonly path: string;
  readonly handle: FileHandle;
}

/** The folder of unfinished files. It lies inside the root, so that a rename into place is one atomic step. */
export interface Temporaries {
  create(): Promise<Temporary>;
  /** A path for a file that somebody else makes; it counts as this process's from the moment it is there. */
  path(): string;
  /** Removes files of dead processes; files whose writer cannot be judged once silent for `olderThanMs`. */
  removeStale(olderThanMs: number): Promise<number>;
}

/**
 * Who writes: `scope` tells within which machine and pid namespace the pid means anything (containers that
 * share a volume each have a pid 1), `started` tells a process from a later one with the same pid.
 */
interface Writer {
  readonly scope: string;
  readonly pid: number;
  readonly started: string;
}

/** The writer stands in the name: there is no moment at which a file exists and its owner is not known. */
const namePattern = /^([0-9a-f]{12})-(\d{1,10})-(\d{1,20})-[0-9a-f]{24}$/;

export async function openTemporaries(folder: string): Promise<Temporaries> {
  const self = await thisWriter();

  const newPath = (): string =>
    join(folder, `${self.scope}-${self.pid}-${self.started}-${randomBytes(12).toString('hex')}`);

  const create = async (): Promise<Temporary> => {
    const path = newPath();
    return { path, handle: await open(path, 'wx', fileMode) };
  };

  const isStale = async (name: string, olderThanMs: number): Promise<boolean> => {
    const [, scope, pid, started] = namePattern.exec(name) ?? [];
    if (scope === self.scope && pid !== undefined && started !== undefined) {
      return !(await isAlive(Number(pid), started));
    }
    const { mtimeMs } = await lstat(join(folder, name));
    return Date.now() - mtimeMs > olderThanMs;
  };

  const removeStale = async (olderThanMs: number): Promise<number> => {
    const entries = await openFolder(folder);
    if (!entries) return 0;
    let removed = 0;
    for await (const entry of entries) {
      if (!entry.isFile()) continue;
      try {
        if (!(await isStale(entry.name, olderThanMs))) continue;
        await unlink(join(folder, entry.name));
        removed += 1;
      } catch (error) {
        // Its writer, or another process that cleans up, was faster.
        if (!isAbsent(error)) throw error;
      }
    }
    return removed;
  };

  return { create, path: newPath, removeStale };
}

async function thisWriter(): Promise<Writer> {
  if (process.platform === 'linux') {
    const [boot, namespace, stat] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readlink('/proc/self/ns/pid'),
      readFile('/proc/self/stat', 'utf8'),
    ]);
    return {
      scope: digest(`${boot} ${namespace}`),
      pid: process.pid,
      started: startOf(stat)?.started ?? '0',
    };
  }
  return { scope: digest(hostname()), pid: process.pid, started: '0' };
}

async function isAlive(pid: number, started: string): Promise<boolean> {
  if (process.platform !== 'linux') return answersSignals(pid);
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    // ESRCH: it ended between open and read.
    if (isAbsent(error) || (error instanceof Error && 'code' in error && error.code === 'ESRCH'))
      return false;
    throw error;
  }
  const found = startOf(stat);
  return found !== undefined && found.started === started && found.state !== 'Z' && found.state !== 'X';
}

function answersSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: alive, but somebody else's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** State and start time (fields 3 and 22 of proc(5) stat); the name before them may hold spaces and brackets. */
function startOf(stat: string): { readonly state: string; readonly started: string } | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  return state !== undefined && started !== undefined ? { state, started } : undefined;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
