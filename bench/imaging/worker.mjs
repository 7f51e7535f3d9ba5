/** One way of making the four variants, named by the argument, in a process of its own. Answers its CPU time. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { sharp, ways } from './ways.mjs';

const make = ways[process.argv[2]];
// IPX is left as it is; with glibc's allocator its sharp takes one thread for a picture, too.
sharp.concurrency(1);
sharp.cache(false);

process.on('disconnect', () => process.exit());
process.on('message', async (path) => {
  const folder = await mkdtemp(join(tmpdir(), 'bench-imaging-'));
  const before = process.cpuUsage();
  await make(path, folder);
  const { user, system } = process.cpuUsage(before);
  const pictures = {};
  for (const name of await readdir(folder)) {
    const file = join(folder, name);
    const { width, height, pages = 1 } = await sharp(file).metadata();
    pictures[name.split('.')[0]] = { bytes: (await stat(file)).size, width, height, frames: pages };
  }
  await rm(folder, { recursive: true });
  process.send({ cpuMs: (user + system) / 1000, pictures });
});
