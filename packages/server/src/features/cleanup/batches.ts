/** How far a run goes. */
export interface Bounds {
  readonly signal: AbortSignal;
  /** Rows of one statement or transaction, so that none holds locks for long. */
  readonly batch: number;
  /** Rows of the whole run; the next goes on. */
  readonly cap: number;
}

/** Goes on until less is found than was asked for, the cap is reached, or the process is to stop. */
export async function inBatches(
  { signal, batch, cap }: Bounds,
  run: (limit: number) => Promise<number>,
  count: (rows: number) => void,
): Promise<void> {
  for (let left = cap; left > 0 && !signal.aborted;) {
    const limit = Math.min(batch, left);
    const rows = await run(limit);
    count(rows);
    if (rows < limit) return;
    left -= rows;
  }
}
