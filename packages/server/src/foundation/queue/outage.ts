import type { Log } from '../log.js';

/** Tells the log once that the database is away and once that it is back, however many statements fail. */
export interface Outage {
  failed(error: unknown): void;
  succeeded(): void;
}

export function createOutage(log: Log): Outage {
  let away = false;
  return {
    failed(error) {
      if (away) log.debug({ err: error }, 'the queue still cannot use the database');
      else log.warn({ err: error }, 'the queue cannot use the database; trying again');
      away = true;
    },
    succeeded() {
      if (away) log.info('the queue can use the database again');
      away = false;
    },
  };
}
