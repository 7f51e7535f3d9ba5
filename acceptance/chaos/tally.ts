/** Counts of what was done, by kind and outcome. */
export interface Tally {
  count(kind: string, outcome: string): void;
  readonly total: number;
  /** A line for each kind. */
  lines(): readonly string[];
}

export function createTally(): Tally {
  const counts = new Map<string, Map<string, number>>();
  return {
    count(kind, outcome) {
      const outcomes = counts.get(kind) ?? new Map<string, number>();
      counts.set(kind, outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1));
    },
    get total() {
      return [...counts.values()]
        .flatMap((outcomes) => [...outcomes.values()])
        .reduce((sum, n) => sum + n, 0);
    },
    lines() {
      return [...counts.entries()]
        .sort(([a], [b]) => a.localeCompare(b))
        .map(([kind, outcomes]) => {
          const parts = [...outcomes.entries()].sort(([a], [b]) => a.localeCompare(b));
          return `${kind.padEnd(20)} ${parts.map(([outcome, n]) => `${n} ${outcome}`).join(', ')}`;
        });
    },
  };
}
