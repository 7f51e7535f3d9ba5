import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

/** What a process counts, for Prometheus to collect. */
export interface Metrics {
  readonly registry: Registry;
  /** A counter of the process; `labels` are the names of its dimensions, each with a few values known beforehand. */
  counter<Label extends string>(name: string, help: string, labels: readonly Label[]): Counter<Label>;
  /**
   * A number of the installation, asked for whenever the metrics are read; whichever process is asked, it is the same.
   * Absent from the answer while it cannot be told.
   */
  gauge<Label extends string>(
    name: string,
    help: string,
    labels: readonly Label[],
    read: () => Promise<readonly Reading<Label>[]>,
  ): void;
}

/** One value of a gauge. */
export interface Reading<Label extends string> {
  readonly labels: Readonly<Record<Label, string>>;
  readonly value: number;
}

/** @param own also count what the process itself takes (CPU, memory, the event loop); one per process. */
export function createMetrics({ own = false }: { readonly own?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (own) collectDefaultMetrics({ register: registry });
  return {
    registry,
    counter: (name, help, labels) =>
      new Counter({ name: `mediablobkit_${name}`, help, labelNames: [...labels], registers: [registry] }),
    gauge: (name, help, labels, read) => {
      const gauge = new Gauge({
        name: `mediablobkit_${name}`,
        help,
        labelNames: [...labels],
        registers: [registry],
        async collect() {
          gauge.reset();
          try {
            for (const reading of await read()) gauge.set(reading.labels, reading.value);
          } catch {
            // The database is away: readiness says so, and the other metrics are wanted all the more.
          }
        },
      });
    },
  };
}
