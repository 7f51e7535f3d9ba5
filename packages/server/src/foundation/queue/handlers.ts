import type { JobHandler, JobKind } from './define.js';

/**
 * Proves at start-up that every kind of job has exactly one handler.
 * @throws Error with one sentence that names every kind without a handler, with two, or declared twice.
 */
export function assertHandlers(kinds: readonly JobKind[], handlers: readonly JobHandler[]): void {
  const declared = new Map<string, JobKind[]>();
  for (const kind of kinds) declared.set(kind.name, [...(declared.get(kind.name) ?? []), kind]);
  const faults: string[] = [];
  for (const [name, same] of declared) {
    if (same.length > 1) faults.push(`the job kind "${name}" is declared ${same.length} times`);
    const count = handlers.filter((handler) => handler.kind.name === name).length;
    if (count === 0) faults.push(`the job kind "${name}" has no handler`);
    if (count > 1) faults.push(`the job kind "${name}" has ${count} handlers`);
  }
  for (const { kind } of handlers) {
    if (!declared.has(kind.name))
      faults.push(`a handler is for the job kind "${kind.name}", which nobody declares`);
  }
  if (faults.length > 0) throw new Error(`The queue cannot start: ${[...new Set(faults)].join('; ')}.`);
}
