import { statfs } from 'node:fs/promises';

/** Whether small files are read at once, in the thread of all requests, or by a thread of the pool. */
export interface ReadPace {
  /** Whether the next small read may be made at once. */
  atOnce(): boolean;
  /** Tells how long a read at once has held everybody up, in milliseconds. */
  took(ms: number): void;
}

/** Milliseconds; when the average read takes longer, the disk turns, is in trouble, or has more to do than it can. */
const slowMs = 1;
/** What one read counts at most, and how much of the average it is: three slow ones in a row tell of a disk, one of a core that was wanted elsewhere. */
const mostMs = 8;
const share = 1 / 16;
/** Milliseconds for which the pool reads then. */
const pauseMs = 10_000;

/**
 * `f_type` of file systems on disks of this machine (Linux, statfs(2)). Elsewhere, and over a network, a read may hang,
 * and must not take the whole process with it.
 */
const localTypes = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0xf2f52010, // F2FS
  0x2fc12fc1, // ZFS
  0x01021994, // tmpfs
  0x794c7630, // overlayfs
]);

/**
 * Judges the file system of a folder. Handing a job to the pool costs 35 µs a call on a virtual machine whose cores are
 * idle, opening and reading 50 KB from the kernel's memory 15 µs: such files went out at 3,600 a second by the pool, and
 * at 5,300 at once (before their memory was used again).
 * @param now milliseconds of a clock that nobody sets; for tests.
 */
export async function paceOf(folder: string, now: () => number = () => performance.now()): Promise<ReadPace> {
  const { type } = await statfs(folder);
  return paceOn(process.platform === 'linux' && localTypes.has(type), now);
}

/** The same of a file system that is known to be local, or not. */
export function paceOn(local: boolean, now: () => number): ReadPace {
  let slowUntil = -Infinity;
  let average = 0;
  return {
    atOnce: () => local && now() >= slowUntil,
    took: (ms) => {
      average += (Math.min(ms, mostMs) - average) * share;
      if (average <= slowMs) return;
      average = 0;
      slowUntil = now() + pauseMs;
    },
  };
}
