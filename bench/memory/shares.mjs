import { readdirSync, readFileSync } from 'node:fs';

/** A look takes some milliseconds of each process, for which it stands still. */
const lookEveryMs = 200;

/**
 * Looks at the proportional share (PSS) of a process and of its children until told to stop. Memory that several map,
 * such as the programs themselves, counts once in the sum.
 * @returns stops, and gives what was seen, in bytes.
 */
export function watchShares(pid) {
  const began = performance.now();
  const samples = [];
  const timer = setInterval(() => {
    const children = childrenOf(pid).map(shareOf);
    const worker = shareOf(pid);
    const total = children.reduce((sum, share) => sum + share, worker);
    samples.push({ seconds: (performance.now() - began) / 1000, total, worker, children });
  }, lookEveryMs);
  return () => {
    clearInterval(timer);
    return samples;
  };
}

/** Any thread of a process may have started a child. */
function childrenOf(pid) {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
    const list = read(`/proc/${pid}/task/${thread}/children`).trim();
    return list === '' ? [] : list.split(' ').map(Number);
  });
}

function shareOf(pid) {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1024;
}

/** Nothing, when the process has ended meanwhile. */
function read(path) {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return '';
    throw error;
  }
}
