import { setPriority } from 'node:os';

/** "Below normal": the API stays quick beside saturated decoders. */
const belowNormal = 10;

/** Makes a child process yield to everything else of the machine. Call it before the child has started its threads, which inherit it. */
export function lowerPriority(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, belowNormal);
  } catch {
    // A sandbox may forbid it, or the child is gone already: decoding works all the same.
  }
}
