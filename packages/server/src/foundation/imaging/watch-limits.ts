import { ImagingError } from './imaging.js';
import { residentMemory } from './resident-memory.js';

export interface Limits {
  /** Longest time in milliseconds. */
  readonly wallClockMs: number;
  /** Milliseconds of it that are over when the watch begins; 0 when absent. */
  readonly spentMs?: number;
  /** Bytes of resident memory. */
  readonly memoryLimitBytes: number;
}

/** How often memory is looked at. libvips fills about 1 GB/s: 100 MB between two looks. */
const intervalMs = 100;

/**
 * Watches a child process from outside, because a decoder that hangs or grows does not watch itself.
 * @param what is worked on, as the beginning of a sentence: "The picture".
 * @param onPassed is told `decoder-timeout` or `decoder-memory`, and has to kill the child; it may be told more than once.
 * @returns what ends the watch.
 */
export function watchLimits(
  pid: number | undefined,
  what: string,
  { wallClockMs, spentMs = 0, memoryLimitBytes: limit }: Limits,
  onPassed: (why: ImagingError) => void,
): () => void {
  const clock = setTimeout(() => {
    const seconds = Math.round(wallClockMs / 100) / 10;
    onPassed(
      new ImagingError('decoder-timeout', `${what} took longer than ${seconds} s and was stopped.`, {
        limit: wallClockMs,
      }),
    );
  }, wallClockMs - spentMs);
  const weigh = async (): Promise<void> => {
    const actual = pid === undefined ? undefined : await residentMemory(pid);
    if (actual === undefined || actual <= limit) return;
    const sentence = `${what} took more than ${limit} bytes of memory and was stopped.`;
    onPassed(new ImagingError('decoder-memory', sentence, { limit, actual }));
  };
  const scale = setInterval(() => void weigh(), intervalMs); // residentMemory never rejects
  return () => {
    clearTimeout(clock);
    clearInterval(scale);
  };
}
