import pg from 'pg';

import type { Log } from '../log.js';

export interface Listener {
  /** Never rejects. */
  close(): Promise<void>;
}

export interface ListenOptions {
  /** A session of its own, so past transaction poolers: they lose LISTEN. */
  readonly url: string;
  /** A plain identifier. */
  readonly channel: string;
  readonly applicationName: string;
  readonly log: Log;
  /** Called for each notification, and once after every (re)connection, since some may have been missed. */
  onNotice(payload: string): void;
}

const firstDelayMs = 100;
const longestDelayMs = 5_000;

/**
 * Keeps one connection listening, for ever reconnecting. Notices that come while it is down are lost: whoever listens
 * must find out in another way too, only later.
 */
export function listen(options: ListenOptions): Listener {
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let failures = 0;
  let connecting: Promise<void> = Promise.resolve();

  async function connect(): Promise<void> {
    const fresh = new pg.Client({
      connectionString: options.url,
      application_name: options.applicationName,
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
    });
    client = fresh;
    fresh.on('notification', (notice) => options.onNotice(notice.payload ?? ''));
    // An error is always followed by `end`; this listener only keeps it from ending the process.
    fresh.on('error', (error) => options.log.debug({ err: error }, 'the listening connection failed'));
    fresh.on('end', () => later(fresh));
    try {
      await fresh.connect();
      await fresh.query(`LISTEN ${options.channel}`);
      if (failures > 0) options.log.info({ channel: options.channel }, 'listening again');
      failures = 0;
      options.onNotice('');
    } catch (error) {
      if (failures === 0) options.log.warn({ err: error, channel: options.channel }, 'cannot listen');
      failures += 1;
      await fresh.end().catch((endError: unknown) => {
        options.log.debug({ err: endError }, 'a broken connection did not close cleanly');
      });
      // When `end` has come already, this finds nothing left to do.
      later(fresh);
    }
  }

  /** Plans the next connection, once for each that is gone. */
  function later(gone: pg.Client): void {
    if (closed || client !== gone) return;
    client = undefined;
    const delay = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures, 10));
    timer = setTimeout(
      () => {
        connecting = connect();
      },
      delay * (0.5 + Math.random() / 2),
    );
  }

  connecting = connect();
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await connecting;
      await client?.end().catch((error: unknown) => {
        options.log.debug({ err: error }, 'the listening connection did not close cleanly');
      });
    },
  };
}
