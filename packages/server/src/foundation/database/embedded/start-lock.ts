import { randomBytes } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { EmbeddedError, systemCode } from './embedded-error.js';
import { processToken, tokenLives } from './process-table.js';

const free = 'free';
const pollMs = 20;
/** A first start takes seconds, crash recovery may take minutes; then the holder hangs. */
const defaultTimeoutMs = 300_000;

/**
 * Runs `work` while no other process of this machine does, for the same folder. The lock outlives nobody:
 * a holder that was killed is recognised by its pid and start time.
 *
 * Node has no flock, and a single lock file cannot be taken over from the dead without a race. So the lock is a
 * growing row of numbered files, of which the highest counts and is never removed: it names a living holder,
 * a dead one, or nobody. Whoever creates the next number holds the lock, and creating is exclusive.
 */
export async function withStartLock<T>(
  folder: string,
  work: () => Promise<T>,
  timeoutMs: number = defaultTimeoutMs,
): Promise<T> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const mine = await acquire(folder, timeoutMs);
  try {
    return await work();
  } finally {
    await replace(folder, join(folder, String(mine)), free);
  }
}

async function acquire(folder: string, timeoutMs: number): Promise<number> {
  const me = processToken();
  if (me === undefined) throw new Error('this process does not find itself in the process table');
  const deadline = Date.now() + timeoutMs;
  while (true) {
    const top = await highest(folder);
    const holder = top === 0 ? free : await holderOf(folder, top);
    if (holder !== free && tokenLives(holder)) {
      if (Date.now() > deadline) {
        throw new EmbeddedError(
          'busy',
          `Process ${Number.parseInt(holder, 10)} has been starting or stopping the embedded database for too long. ` +
            'End it and try again.',
        );
      }
      await sleep(pollMs);
      continue;
    }
    const next = top + 1;
    if (!(await create(folder, next, me))) continue;
    // Between looking and creating others may have come and gone, and tidied this number away: the highest counts.
    if ((await highest(folder)) === next) {
      await tidy(folder, next);
      return next;
    }
    await rm(join(folder, String(next)), { force: true });
  }
}

/** Highest number in use; 0 in a new folder. */
async function highest(folder: string): Promise<number> {
  return Math.max(0, ...(await numbers(folder)));
}

async function numbers(folder: string): Promise<number[]> {
  return (await readdir(folder)).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** What the numbered file says; `free` when it was tidied away, for then a higher one exists. */
async function holderOf(folder: string, number: number): Promise<string> {
  try {
    return await readFile(join(folder, String(number)), 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return free;
    throw error;
  }
}

/** Creates the numbered file with its content in one step; false when it exists. */
async function create(folder: string, number: number, content: string): Promise<boolean> {
  const temporary = temporaryName(folder);
  await writeFile(temporary, content, { mode: 0o600 });
  try {
    await link(temporary, join(folder, String(number)));
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function replace(folder: string, path: string, content: string): Promise<void> {
  const temporary = temporaryName(folder);
  await writeFile(temporary, content, { mode: 0o600 });
  await rename(temporary, path);
}

function temporaryName(folder: string): string {
  return join(folder, `.${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** Removes the numbers below ours. Temporary files of killed processes stay: a few bytes each. */
async function tidy(folder: string, mine: number): Promise<void> {
  const lower = (await numbers(folder)).filter((number) => number < mine);
  await Promise.all(lower.map((number) => rm(join(folder, String(number)), { force: true })));
}
