import { spawnSync } from 'node:child_process';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A small file system that can be filled. */
export interface SmallDisk {
  /** Leaves no byte free for so long. */
  full(ms: number): Promise<void>;
  unmount(): void;
}

const mebibytes = 192;

/** Mounts a small tmpfs on a folder; undefined where that is not allowed. */
export async function mountSmallDisk(folder: string): Promise<SmallDisk | undefined> {
  await mkdir(folder, { recursive: true });
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', folder], {
    stdio: 'ignore',
  });
  if (status !== 0) return undefined;
  let fillings = 0;
  return {
    async full(ms) {
      const path = join(folder, `filling-${(fillings += 1)}`);
      const handle = await open(path, 'w');
      try {
        const block = Buffer.alloc(65_536);
        for (let size = block.length; size >= 1; size = Math.floor(size / 16)) {
          for (;;) {
            try {
              await handle.write(block, 0, size);
            } catch (error) {
              if ((error as NodeJS.ErrnoException).code === 'ENOSPC') break;
              throw error;
            }
          }
        }
        await sleep(ms);
      } finally {
        await handle.close();
        await rm(path);
      }
    },
    unmount() {
      spawnSync('umount', ['--lazy', folder], { stdio: 'ignore' });
    },
  };
}
