import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/**
 * System calls that change files. Plain `write` is not among them: Node.js writes blobs with `writev` and `pwritev`, and
 * uses `write` to wake its threads, hundreds of times.
 */
const changes =
  'writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,copy_file_range';

/** strace counts for each thread by itself: with one thread for files the N-th call is the N-th call. */
export const oneThread = { UV_THREADPOOL_SIZE: '1' } as const;

/** Whether strace is there and may trace. */
export function canTrace(): boolean {
  const { status } = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true'], { stdio: 'ignore' });
  return status === 0;
}

/** Options that kill a process as it enters its N-th call that changes files. */
export function killAt(number: number): readonly string[] {
  return [
    ...['-f', '-o', '/dev/null', '-e', `trace=${changes}`],
    ...['-e', `inject=${changes}:signal=SIGKILL:when=${number}`],
  ];
}

/** Traces a process that runs already, with all its threads. Resolves when it does. */
export async function attach(pid: number, number: number): Promise<{ end(): Promise<void> }> {
  const tracer = spawn('strace', [...killAt(number), '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(tracer, 'exit');
  await attached(tracer);
  return {
    async end() {
      if (tracer.exitCode === null && tracer.signalCode === null) tracer.kill('SIGTERM');
      await ended;
    },
  };
}

function attached(tracer: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    tracer.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('attached')) resolve();
    });
    tracer.once('error', reject);
    tracer.once('exit', () => reject(new Error(`strace ended: ${said}`)));
  });
}
