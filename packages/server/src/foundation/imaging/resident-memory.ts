import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Resident memory of a process in bytes, or undefined when it is gone. On Linux 30 µs from /proc; elsewhere `ps`,
 * which costs some milliseconds. Not RLIMIT_AS, which counts address space and kills V8.
 */
export async function residentMemory(pid: number): Promise<number | undefined> {
  try {
    if (process.platform === 'linux') {
      // `status` and not `statm`: it counts in KiB, statm in pages whose size Node cannot tell.
      const found = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'));
      return found ? Number(found[1]) * 1024 : undefined;
    }
    const { stdout } = await run('ps', ['-o', 'rss=', '-p', String(pid)]);
    const kibibytes = Number.parseInt(stdout, 10);
    return Number.isNaN(kibibytes) ? undefined : kibibytes * 1024;
  } catch {
    // The process ended between two looks; its exit event tells the rest.
    return undefined;
  }
}
