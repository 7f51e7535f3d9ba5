import type { Readable } from 'node:stream';

import { Problem } from '../problems.js';

/** How slow a sender may be. Only time spent waiting for it counts, never a slow store. */
export interface Pace {
  /** Milliseconds without a byte after which the body is given up. Also the window of the rate below. */
  readonly idleTimeoutMs: number;
  /** Least bytes a second over a window of waiting; 0 allows any rate. */
  readonly minBytesPerSecond: number;
}

/** The bytes of a request, pulled: nothing is read from the socket that nobody has asked for. */
export interface BodySource extends AsyncIterableIterator<Buffer> {
  /** Takes the listeners off the request, which can then be drained or let go. Idempotent. */
  release(): void;
}

/**
 * Reads the body of a message, a request's or an answer's, at the speed of its consumer.
 *
 * There is no limit on the total time: an honest slow upload of any length finishes. A body that stops, or drips
 * below the minimum rate, ends with `request-timeout`; one whose connection is lost with `upload-incomplete`;
 * one whose signal aborts with the signal's reason.
 */
export function readBody(request: Readable, pace: Pace, signal: AbortSignal): BodySource {
  let wake: (() => void) | undefined;
  const onEvent = (): void => wake?.();
  const events = ['readable', 'end', 'close', 'error'] as const;
  for (const event of events) request.on(event, onEvent);
  signal.addEventListener('abort', onEvent);

  let released = false;
  let waitedMs = 0;
  let windowBytes = 0;

  const waitForClient = async (): Promise<void> => {
    const start = performance.now();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        const detail = `No byte arrived for ${seconds(pace.idleTimeoutMs)} seconds.`;
        reject(new Problem('request-timeout', { detail }));
      }, pace.idleTimeoutMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    }).finally(() => {
      wake = undefined;
    });
    waitedMs += performance.now() - start;
  };

  const checkRate = (): void => {
    if (waitedMs < pace.idleTimeoutMs) return;
    if (windowBytes < (pace.minBytesPerSecond * waitedMs) / 1000) {
      throw new Problem('request-timeout', {
        detail: `Fewer than ${pace.minBytesPerSecond} bytes a second arrived for ${seconds(waitedMs)} seconds.`,
      });
    }
    waitedMs = 0;
    windowBytes = 0;
  };

  const next = async (): Promise<IteratorResult<Buffer, undefined>> => {
    while (!released) {
      signal.throwIfAborted();
      const chunk = request.read() as Buffer | null;
      if (chunk !== null) {
        windowBytes += chunk.length;
        checkRate();
        return { done: false, value: chunk };
      }
      if (request.readableEnded) break;
      if (request.destroyed) {
        throw new Problem('upload-incomplete', {
          detail: 'The connection was lost before the whole body arrived.',
          cause: request.errored ?? undefined,
        });
      }
      await waitForClient();
    }
    return { done: true, value: undefined };
  };

  const release = (): void => {
    if (released) return;
    released = true;
    for (const event of events) request.off(event, onEvent);
    signal.removeEventListener('abort', onEvent);
    wake?.();
  };

  const source: BodySource = {
    next,
    return: async () => {
      release();
      return { done: true, value: undefined };
    },
    release,
    [Symbol.asyncIterator]: () => source,
  };
  return source;
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds / 100) / 10;
}
