import { mkdtemp, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';

import { chooseAllocator } from '../../foundation/imaging/allocator.js';
import { findFfmpeg } from '../../foundation/imaging/ffmpeg.js';
import { createImaging } from '../../foundation/imaging/pool.js';
import { outputFormats } from '../../foundation/imaging/recipe.js';
import { size } from '../copy-progress.js';
import { landscape } from '../landscapes.js';
import {
  fail,
  none,
  ok,
  reasonOf,
  warn,
  type Diagnosis,
  type DoctorCheck,
  type Patient,
} from './diagnosis.js';

const oldestNode = [20, 19] as const;
/** A connection, a socket to the store and a file each; 1,024 are used up by some three hundred downloads. */
const fewFiles = 4_096;
/** Less is left than PostgreSQL needs to write its log and go on. */
const leastBytes = 256 * 2 ** 20;
/** Parts of the disk that are left when somebody should look. */
const lowPart = 0.1;
const lowInodes = 0.02;

/** What the machine brings. */
export const machineChecks: readonly DoctorCheck[] = [
  { name: 'node', look: () => judgeNode(process.versions.node) },
  { name: 'open-files', look: async () => judgeOpenFiles(await openFileLimit()) },
  { name: 'disk-space', look: ({ settings }) => diskSpace(settings.dataFolder, settings.maxUploadBytes) },
  { name: 'memory', look: ({ settings }) => judgeMemory(settings, totalmem()) },
  { name: 'pictures', look: pictures },
  { name: 'allocator', look: allocator },
  { name: 'ffmpeg', look: ffmpeg },
];

/** @param version such as `20.19.4`. */
export function judgeNode(version: string): Diagnosis {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const old = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1]);
  return old
    ? fail(`Node.js ${version}`, `Install Node.js ${oldestNode.join('.')} or newer.`)
    : ok(`Node.js ${version}`);
}

/** The soft limit of this process, which Node.js raises to the hard one at its start; undefined where it cannot be read. */
async function openFileLimit(): Promise<number | undefined> {
  try {
    const limits = await readFile('/proc/self/limits', 'utf8');
    const [, soft] = /^Max open files\s+(\S+)/m.exec(limits) ?? [];
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : soft === undefined ? undefined : Number(soft);
  } catch {
    // There is no /proc but on Linux.
    return undefined;
  }
}

export function judgeOpenFiles(limit: number | undefined): Diagnosis {
  if (limit === undefined) return none('the limit cannot be read on this system');
  const found = limit === Number.POSITIVE_INFINITY ? 'no limit' : `${limit} at most`;
  if (limit >= fewFiles) return ok(found);
  return warn(found, 'Raise it: LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536 in the shell.');
}

async function diskSpace(dataFolder: string, maxUploadBytes: number): Promise<Diagnosis> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(await nearest(dataFolder));
  return judgeSpace({
    free: bavail * bsize,
    total: blocks * bsize,
    // Some file systems have no fixed number of inodes and say 0.
    freeInodes: files === 0 ? 1 : ffree / files,
    maxUploadBytes,
  });
}

export interface Space {
  /** Bytes. */
  readonly free: number;
  readonly total: number;
  /** As a part of all. */
  readonly freeInodes: number;
  readonly maxUploadBytes: number;
}

export function judgeSpace({ free, total, freeInodes, maxUploadBytes }: Space): Diagnosis {
  const found = `${size(free)} of ${size(total)} are free in the data folder`;
  const more = 'Make room, or move MBK_DATA_FOLDER to a larger disk.';
  if (free < leastBytes) return fail(found, more);
  if (freeInodes < lowInodes) return warn(`${found}, and hardly an inode`, more);
  if (free < total * lowPart) return warn(found, more);
  if (free < maxUploadBytes) {
    return warn(found, `One upload may have ${size(maxUploadBytes)} (MBK_MAX_UPLOAD_BYTES). ${more}`);
  }
  return ok(found);
}

/** The folder, or the nearest one above it that is there. */
async function nearest(folder: string): Promise<string> {
  try {
    return (await stat(folder)).isDirectory() ? folder : dirname(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(folder) === folder) throw error;
    return nearest(dirname(folder));
  }
}

/** @param total bytes of the machine. */
export function judgeMemory(
  settings: Pick<Patient['settings'], 'imagingProcesses' | 'imagingMemoryBytes'>,
  total: number,
): Diagnosis {
  const most = settings.imagingProcesses * settings.imagingMemoryBytes;
  const found = `${settings.imagingProcesses} decoders may take ${size(most)} of ${size(total)}`;
  if (most <= total) return ok(found);
  return warn(
    found,
    'Large pictures at once may use up the memory: lower MBK_IMAGING_PROCESSES or MBK_IMAGING_MEMORY.',
  );
}

/** Renders a small picture into every format and reads each of them again, as a worker does. */
async function pictures({ settings, log }: Patient): Promise<Diagnosis> {
  const folder = await mkdtemp(join(tmpdir(), 'mbk-doctor-'));
  const imaging = createImaging({
    log,
    size: 1,
    memoryLimitBytes: settings.imagingMemoryBytes,
    wallClockMs: settings.imagingTimeoutMs,
  });
  try {
    const path = join(folder, 'picture.png');
    await writeFile(path, landscape(0, 96, 64));
    const { images, failures } = await imaging.render({
      path,
      recipes: outputFormats.map((format) => ({
        name: format,
        recipe: { width: 48, fit: 'inside', format },
      })),
      outputFolder: folder,
    });
    const [failure] = failures;
    if (failure) return fail(`${failure.name} cannot be written: ${failure.detail}`, installAnew);
    for (const image of images) {
      const { format } = await imaging.probe({ path: image.path });
      if (format !== image.format)
        return fail(`what was written as ${image.format} is read as ${format}`, installAnew);
    }
    return ok(`${images.map(({ format }) => format).join(', ')} are written and read`);
  } catch (error) {
    return fail(`pictures cannot be made: ${reasonOf(error)}`, installAnew);
  } finally {
    await imaging.close();
    await rm(folder, { recursive: true, force: true });
  }
}

const installAnew =
  'Install the packages anew on this very kind of machine (npm ci): sharp brings a library for each system and processor.';

async function allocator({ log }: Patient): Promise<Diagnosis> {
  const { LD_PRELOAD: library } = await chooseAllocator(log);
  if (library !== undefined) return ok(`decoders use ${library}`);
  if (process.platform !== 'linux') return ok('decoders use the allocator of the system');
  return warn(
    'decoders use the allocator of the C library',
    'They work. With jemalloc they take two thirds of the memory: apt-get install libjemalloc2.',
  );
}

async function ffmpeg({ settings, log }: Patient): Promise<Diagnosis> {
  const { ffmpeg: wanted } = settings;
  if (wanted === 'off') return ok('off: videos are kept without pictures');
  const path = await findFfmpeg({ wanted, folders: settings.programFolders, log });
  if (path !== undefined) return ok(path);
  if (wanted === 'auto') {
    return warn(
      'there is none: videos are kept without pictures',
      'Install it where workers run (apt-get install --no-install-recommends ffmpeg), or set MBK_FFMPEG=off.',
    );
  }
  return fail(`${wanted} does not run`, 'MBK_FFMPEG must be the absolute path of ffmpeg, auto, or off.');
}
