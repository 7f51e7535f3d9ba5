import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { systemCode } from './embedded-error.js';

/** A process that lives; a zombie is none. */
export interface LivingProcess {
  /** Name of its program, at most 15 characters; empty when the system does not tell. */
  readonly command: string;
  /** When it started, in a form of the system's own; with the pid it names one process of this boot. */
  readonly startedAt: string;
}

/** Looks a pid up: undefined when there is none, or only a zombie that nobody has waited for. */
export function findProcess(pid: number): LivingProcess | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

function fromProc(pid: number): LivingProcess | undefined {
  let stat;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    // ESRCH: it ended while we read. With hidepid, other users' processes have no entry but can be signalled.
    if (systemCode(error) === 'ENOENT' && mayExist(pid)) return { command: '', startedAt: '' };
    return undefined;
  }
  // "pid (command) state ppid …": the command may hold spaces and brackets. proc(5): start time is field 22.
  const commandEnd = stat.lastIndexOf(')');
  const fields = stat.slice(commandEnd + 2).split(' ');
  const [state = ''] = fields;
  if (state === 'Z' || state === 'X') return undefined;
  return { command: stat.slice(stat.indexOf('(') + 1, commandEnd), startedAt: fields[19] ?? '' };
}

function fromPs(pid: number): LivingProcess | undefined {
  const { stdout } = spawnSync('/bin/ps', ['-o', 'state=,lstart=,comm=', '-p', String(pid)], {
    encoding: 'utf8',
  });
  // "Ss   Tue Nov 24 14:55:43 2026     /path/to/command"
  const found = /^(\S+)\s+(\S+\s+\S+\s+\d+\s+\S+\s+\d+)\s+(.*)$/.exec(stdout.trim());
  if (!found || found[1]?.startsWith('Z')) return undefined;
  return { command: (found[3] ?? '').split('/').at(-1) ?? '', startedAt: found[2] ?? '' };
}

/** False when there surely is no such process. */
function mayExist(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/** One process of one boot as a line of text, to be written into a file and compared later. */
export function processToken(pid: number = process.pid): string | undefined {
  const found = findProcess(pid);
  return found && `${pid} ${bootId()} ${found.startedAt}`;
}

/** True while the process that `token` names lives; a later process with the same pid does not count. */
export function tokenLives(token: string): boolean {
  return processToken(Number.parseInt(token, 10)) === token;
}

function bootId(): string {
  if (process.platform !== 'linux') return '-';
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    // Some sandboxes hide it; then pid and start time must do.
    return '-';
  }
}

/**
 * Processes that work in a folder or name it in their arguments, as initdb and what it starts do with the folder
 * they make. Empty where the system does not tell (macOS).
 */
export function processesAt(folder: string): readonly number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && worksAt(pid, folder));
}

function worksAt(pid: number, folder: string): boolean {
  try {
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(folder)) return true;
    return readlinkSync(`/proc/${pid}/cwd`) === folder;
  } catch (error) {
    // It ended meanwhile, or is somebody else's.
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return false;
    throw error;
  }
}
