import { readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { systemCode } from './embedded-error.js';
import { findProcess } from './process-table.js';

/** A server that runs on our data folder. */
export interface Postmaster {
  readonly pid: number;
  /** Folder of its socket `.s.PGSQL.5432`. */
  readonly socketFolder: string;
  /** `starting`, `ready`, `stopping` or `standby`; empty in its first moments. */
  readonly status: string;
}

/** PostgreSQL's lock file: pid, data folder, start time, port, socket folder, address, shared memory, status. */
const pidFile = 'postmaster.pid';

/**
 * The server of a data folder, or undefined when none runs. A pid file counts only when its process lives (a zombie
 * does not), is a postgres, and works in this very folder: after a crash, a reboot or a copied folder the pid
 * may be anybody's. The pid is negative while initdb or a single-user server works; such a file never counts.
 */
export function findPostmaster(data: string): Postmaster | undefined {
  const text = readPidFile(data);
  if (text === undefined) return undefined;
  const [pidLine = '', dataLine = '', , , socketFolder = '', , , status = ''] = text.split('\n');
  const pid = Number(pidLine);
  const found = findProcess(pid);
  if (!found || (found.command !== '' && found.command !== 'postgres')) return undefined;
  if (!worksIn(pid, data, dataLine)) return undefined;
  return { pid, socketFolder: socketFolder.trim(), status: status.trim() };
}

/**
 * Removes a pid file that no server stands behind, which postgres itself would not when the pid belongs to
 * somebody else or to a zombie. Only under the start lock: nobody may be writing a new one.
 */
export function removeStalePidFile(data: string): boolean {
  if (readPidFile(data) === undefined || findPostmaster(data) !== undefined) return false;
  rmSync(join(data, pidFile), { force: true });
  return true;
}

function readPidFile(data: string): string | undefined {
  try {
    return readFileSync(join(data, pidFile), 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whether the process has our data folder as its working folder, as every postgres server has. */
function worksIn(pid: number, data: string, dataLine: string): boolean {
  if (process.platform === 'linux') {
    try {
      const its = statSync(`/proc/${pid}/cwd`);
      const ours = statSync(data);
      return its.dev === ours.dev && its.ino === ours.ino;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      // Hidden from us; what the file says must do.
    }
  }
  try {
    return realpathSync(dataLine) === realpathSync(data);
  } catch {
    // The recorded folder is gone: the file was copied here from elsewhere.
    return false;
  }
}
