import type { Means, Point } from './points.js';

/** Something that must not be. */
export interface Fault {
  readonly text: string;
  /** Undefined: it showed only at the end, and may come from any point. */
  readonly point?: Point | undefined;
}

/** What came of one operation by one means. */
export interface Row {
  readonly operation: string;
  readonly means: Means;
  /** Points at which the process was killed. */
  killed: number;
  /** Of these, after which the client had its answer all the same, or got it by asking again. */
  acknowledged: number;
  /** The operation ended before the last point: there are no more. */
  complete: boolean;
  fsck: string;
  readonly faults: Fault[];
}

export function table(rows: readonly Row[]): string {
  const heading = ['operation', 'killed at calls to', 'kill points', 'acknowledged', 'fsck', 'faults'];
  const lines = rows.map((row) => [
    row.operation,
    row.means,
    `${row.killed}${row.complete ? ' (all)' : ''}`,
    String(row.acknowledged),
    row.fsck,
    String(row.faults.length),
  ]);
  const widths = heading.map((name, at) =>
    Math.max(name.length, ...lines.map((line) => line[at]?.length ?? 0)),
  );
  return [heading, ...lines]
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The command that shows a fault again. */
export function replay({ operation, means }: Row, { point }: Fault, seed: string): string {
  const words = ['npm run test:crash --', `--only ${operation}`, `--means ${means}`];
  if (point) words.push(`--point ${point.number}`, `--moment ${point.moment}`);
  return [...words, `--seed ${seed}`].join(' ');
}
