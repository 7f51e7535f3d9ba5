/**
 * The process's clock, for what stays inside the process (tokens, log lines, retry delays). Leases,
 * expiry and sweeps are decided by the database's clock instead, which all processes share.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };
