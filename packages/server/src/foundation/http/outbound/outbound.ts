import type { Readable } from 'node:stream';

import { Client } from 'undici';

import { Problem } from '../../problems.js';
import { readBody, type Pace } from '../body-source.js';
import { createLookup, guardedConnector, type Lookup } from './connector.js';
import { OutboundFailed, OutboundRefused } from './failures.js';
import { createReach, type ReachOptions } from './reach.js';

export interface OutboundOptions extends ReachOptions {
  /** Says who asks; nothing else of us is sent. */
  readonly userAgent: string;
  /** How slow the other side may send. */
  readonly pace: Pace;
  /** Milliseconds within which it has to answer, from the look-up to the last header field; of every hop. */
  readonly answerTimeoutMs: number;
  /** In place of the system's. */
  readonly lookup?: Lookup;
  /** Certificates to trust in place of the system's. */
  readonly ca?: string;
}

/** A body on its way here. */
export interface Download {
  /** A header field of the answer; of one that came several times all values, with commas between. */
  header(name: string): string | undefined;
  /** Where it came from at last. */
  readonly url: URL;
  /** Content-Length; undefined when the other side does not tell. It is not more than a promise. */
  readonly length: number | undefined;
  /** The bytes. @throws OutboundFailed when they stop, drip, or are fewer than promised. */
  readonly body: AsyncGenerator<Buffer, void, undefined>;
  /** Lets the connection go. Always called. */
  close(): Promise<void>;
}

/** Fetches from strangers' servers what strangers ask for. */
export interface Outbound {
  /**
   * Judges a URL by what it says itself, without asking anybody.
   * @throws OutboundRefused
   */
  checkUrl(url: URL): void;
  /**
   * Sends GET and follows redirects, each judged like the first. Resolves with the header of an answer 200.
   * @throws OutboundRefused, OutboundFailed; the signal's reason when it aborts.
   */
  download(url: URL, signal: AbortSignal): Promise<Download>;
}

const mostRedirects = 5;
const redirects = new Set([301, 302, 303, 307, 308]);
/** Answers that are worth asking again for, besides all 5xx. */
const passingStatuses = new Set([408, 425, 429]);
/** What Node's own server takes; more is refused. */
const mostHeaderBytes = 16 * 1024;
/** What may wait between the socket and its reader. */
const bufferedBytes = 256 * 1024;

interface Answer {
  readonly status: number;
  header(name: string): string | undefined;
  readonly body: Readable;
  close(): Promise<void>;
}

export function createOutbound(options: OutboundOptions): Outbound {
  const reach = createReach(options);
  const { answerTimeoutMs, ca, lookup = createLookup() } = options;
  const connect = guardedConnector({ reach, lookup, timeoutMs: answerTimeoutMs, ca });

  /** Sends one request over a connection of its own. */
  async function ask(url: URL, signal: AbortSignal): Promise<Answer> {
    reach.checkUrl(url);
    // No agent: nothing is reused, and no proxy of the environment is asked.
    const client = new Client(url.origin, {
      connect,
      maxHeaderSize: mostHeaderBytes,
      // Both have limits of their own below, which intermediate answers (1xx) and a slow reader do not move.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    const close = () => client.destroy();
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), answerTimeoutMs);
    try {
      const { statusCode, headers, body } = await client.request({
        method: 'GET',
        path: url.pathname + url.search,
        headers: { 'user-agent': options.userAgent, accept: '*/*', 'accept-encoding': 'identity' },
        signal: AbortSignal.any([signal, patience.signal]),
        reset: true,
        highWaterMark: bufferedBytes,
      });
      // Whoever reads hears of it by the state of the stream.
      body.on('error', () => undefined);
      return { status: statusCode, header: (name) => headers[name]?.toString(), body, close };
    } catch (error) {
      await close();
      signal.throwIfAborted();
      throw patience.signal.aborted ? unanswered(answerTimeoutMs) : failureOf(error);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    checkUrl: (url) => reach.checkUrl(url),
    async download(first, signal) {
      let url = first;
      for (let hop = 0; hop <= mostRedirects; hop += 1) {
        const answer = await ask(url, signal);
        try {
          const next = redirectOf(answer, url);
          if (next === undefined) return downloadOf(answer, url, options.pace, signal);
          url = next;
        } catch (error) {
          await answer.close();
          throw error;
        }
        await answer.close();
      }
      throw new OutboundFailed(`The source redirects more than ${mostRedirects} times.`, { passing: false });
    },
  };
}

/** Where the answer sends us; undefined when it does not. */
function redirectOf(answer: Answer, from: URL): URL | undefined {
  const field = answer.header('location');
  if (!redirects.has(answer.status) || field === undefined) return undefined;
  // A field's bytes come as one character each; servers that send others than ASCII mean UTF-8.
  const location = Buffer.from(field, 'latin1').toString('utf8');
  if (!URL.canParse(location, from.href)) {
    throw new OutboundFailed('The source redirects to something that is no URL.', { passing: false });
  }
  const to = new URL(location, from);
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    throw new OutboundRefused('The source redirects from https to http.');
  }
  return to;
}

function downloadOf(answer: Answer, url: URL, pace: Pace, signal: AbortSignal): Download {
  const { status } = answer;
  if (status !== 200) {
    throw new OutboundFailed(`The source answered with status ${status}.`, {
      passing: status >= 500 || passingStatuses.has(status),
    });
  }
  // We have asked for the bytes as they are; what is coded nevertheless would be stored as what it is not.
  if (
    isCoded(answer.header('content-encoding'), 'identity') ||
    isCoded(answer.header('transfer-encoding'), 'chunked')
  ) {
    throw new OutboundFailed('The source sends the file with a coding that it was not asked for.', {
      passing: false,
    });
  }
  const length = /^\d{1,15}$/.exec(answer.header('content-length') ?? '');
  return {
    header: (name) => answer.header(name),
    url,
    length: length ? Number(length[0]) : undefined,
    body: bytesOf(answer.body, pace, signal),
    close: () => answer.close(),
  };
}

function isCoded(field: string | undefined, plain: string): boolean {
  return field !== undefined && field.trim().toLowerCase() !== plain;
}

async function* bytesOf(
  body: Readable,
  pace: Pace,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const source = readBody(body, pace, signal);
  try {
    yield* source;
  } catch (error) {
    if (signal.aborted || !(error instanceof Problem)) throw error;
    const message =
      error.code === 'request-timeout'
        ? 'The source sent its bytes too slowly.'
        : 'The connection to the source broke before the whole file had come.';
    throw new OutboundFailed(message, { passing: true, cause: error });
  } finally {
    source.release();
  }
}

function unanswered(ms: number): OutboundFailed {
  return new OutboundFailed(`The source did not answer within ${Math.round(ms / 1000)} seconds.`, {
    passing: true,
  });
}

/** Errors that a certificate brings, by Node's codes. */
const certificateFault = /^(?:CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/;

function failureOf(error: unknown): OutboundFailed | OutboundRefused {
  if (error instanceof OutboundFailed || error instanceof OutboundRefused) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (certificateFault.test(code)) {
    return new OutboundFailed('The certificate of the source is not valid.', {
      passing: false,
      cause: error,
    });
  }
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new OutboundFailed('The header of the answer is too long.', { passing: false, cause: error });
  }
  return new OutboundFailed('The connection to the source failed.', { passing: true, cause: error });
}
