import { collectDefaultMetrics, Counter, Registry } from 'prom-client';

/** What a process counts, for Prometheus to collect. */
export interface Metrics {
  readonly registry: Registry;
  /** A counter of the process; `labels` are the names of its dimensions, each with a few values known beforehand. */
  counter<Label extends string>(name: string, help: string, labels: readonly Label[]): Counter<Label>;
}

/** @param own also count what the process itself takes (CPU, memory, the event loop); one per process. */
export function createMetrics({ own = false }: { readonly own?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (own) collectDefaultMetrics({ register: registry });
  return {
    registry,
    counter: (name, help, labels) =>
      new Counter({ name: `mediablobkit_${name}`, help, labelNames: [...labels], registers: [registry] }),
  };
}
