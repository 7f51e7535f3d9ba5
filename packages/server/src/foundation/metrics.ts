import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

/** What a process counts, for Prometheus to collect. */
export interface Metrics {
  readonly registry: Registry;
  /** A counter of the process; `labels` are the names of its dimensions, each with a few values known beforehand. */
  counter<Label extends string>(name: string, help: string, labels: readonly Label[]): Counter<Label>;
  /**
   * Something that is looked up when somebody collects. Values that cannot be looked up are left out, and counted as
   * `mediablobkit_collect_failures_total`: the others are told all the same.
   */
  gauge<Label extends string>(
    name: string,
    help: string,
    labels: readonly Label[],
    look: () => Promise<readonly GaugeValue<Label>[]>,
  ): void;
}

export interface GaugeValue<Label extends string> {
  readonly labels: Readonly<Record<Label, string>>;
  readonly value: number;
}

/** @param own also count what the process itself takes (CPU, memory, the event loop); one per process. */
export function createMetrics({ own = false }: { readonly own?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (own) collectDefaultMetrics({ register: registry });
  const counter: Metrics['counter'] = (name, help, labels) =>
    new Counter({ name: `mediablobkit_${name}`, help, labelNames: [...labels], registers: [registry] });
  const failures = counter('collect_failures_total', 'Looks at what is told here that failed.', ['metric']);
  return {
    registry,
    counter,
    gauge(name, help, labels, look) {
      const gauge = new Gauge({
        name: `mediablobkit_${name}`,
        help,
        labelNames: [...labels],
        registers: [registry],
        async collect() {
          gauge.reset();
          try {
            for (const { labels: of, value } of await look()) gauge.set(of, value);
          } catch {
            failures.inc({ metric: name });
          }
        },
      });
    },
  };
}
