export interface Repetition {
  start(delayMs?: number): void;
  /** Runs now, or once more after the run under way. */
  now(): void;
  /** Resolves when the run under way has ended; none follows. */
  stop(): Promise<void>;
}

/** Runs `work`, which never rejects, again and again, never twice at a time. */
export function repeat(work: () => Promise<void>, intervalMs: () => number): Repetition {
  let timer: NodeJS.Timeout | undefined;
  let run: Promise<void> | undefined;
  let again = false;
  let stopped = false;

  function plan(delayMs: number): void {
    if (stopped) return;
    timer = setTimeout(begin, delayMs);
  }

  function begin(): void {
    clearTimeout(timer);
    run = work().then(() => {
      run = undefined;
      plan(again ? 0 : intervalMs());
      again = false;
    });
  }

  return {
    start: (delayMs = intervalMs()) => plan(delayMs),
    now() {
      if (stopped) return;
      if (run) again = true;
      else begin();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await run;
    },
  };
}
