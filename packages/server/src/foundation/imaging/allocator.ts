import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';

import type { Log } from '../log.js';

const run = promisify(execFile);

/** Environment variables by which a child process gets its memory allocator. */
export type AllocatorEnvironment = Readonly<Record<string, string>>;

const mappedBytes = String(4 * 1024 * 1024);

/**
 * glibc keeps an arena per thread: 2 instead of 8 per core halve what mixed pictures leave behind. Whole pictures are
 * mapped, and unmapped when they are freed: by itself glibc raises these limits to the largest picture so far, and keeps
 * its room. With the collection in child.ts a child has 90 MB after a picture instead of 190, for 5 % of CPU; limits of
 * 1 MiB would save 10 MB more and cost 10 %.
 */
export const fewArenas: AllocatorEnvironment = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: mappedBytes,
  MALLOC_TRIM_THRESHOLD_: mappedBytes,
};

/**
 * Few arenas, and pages back to the system after a second: over 90 mixed pictures a decoder has 152 MB on average, 210 with
 * jemalloc's own settings, 223 with two arenas of glibc and 403 with all of them, for the same CPU.
 */
const jemallocConf = 'narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0';

const triplets: Partial<Record<NodeJS.Architecture, string>> = { x64: 'x86_64', arm64: 'aarch64' };
const folders = [
  `/usr/lib/${triplets[process.arch] ?? process.arch}-linux-gnu`,
  '/usr/lib64',
  '/usr/lib',
  '/usr/local/lib',
];
/** Where Linux distributions put it. */
const places = process.platform === 'linux' ? folders.map((folder) => `${folder}/libjemalloc.so.2`) : [];

/** Longest start of Node.js that is waited for; 50 ms are usual. */
const probeMs = 10_000;
/** Succeeds only in a process that the library is really in: glibc goes on without one that it cannot load. */
const probe = `
  const maps = require('node:fs').readFileSync('/proc/self/maps', 'utf8');
  process.exit(Buffer.alloc(64 << 20, 1).at(-1) === 1 && maps.includes('jemalloc') ? 0 : 1);`;

/**
 * Looks for jemalloc and tries it in a child process: a library of another architecture or C library, or one built for
 * another page size, lets no child start. Says in the log which allocator the decoders get.
 * @param paths where to look, the first that works counts.
 * @returns for `ImagingOptions.allocator`; `fewArenas` when no jemalloc works.
 */
export async function chooseAllocator(
  log: Log,
  paths: readonly string[] = places,
): Promise<AllocatorEnvironment> {
  for (const path of paths) {
    try {
      await access(path, constants.R_OK);
    } catch {
      continue;
    }
    const environment = { LD_PRELOAD: path, MALLOC_CONF: jemallocConf };
    try {
      await run(process.execPath, ['-e', probe], {
        env: environment,
        timeout: probeMs,
        killSignal: 'SIGKILL',
      });
      log.info({ library: path }, 'decoders use jemalloc');
      return environment;
    } catch (error) {
      log.warn({ library: path, err: error }, 'jemalloc is here but does not work');
    }
  }
  log.info('decoders use the allocator of the C library');
  return fewArenas;
}
