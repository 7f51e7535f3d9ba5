import { lookup as systemLookup } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';

import pLimit from 'p-limit';
import { buildConnector } from 'undici';

import { OutboundFailed, unreachable } from './failures.js';
import { bareHost, type Reach } from './reach.js';

/** All addresses of a host name. */
export type Lookup = (
  hostname: string,
) => Promise<readonly { readonly address: string; readonly family: number }[]>;

export interface ConnectorOptions {
  readonly reach: Reach;
  readonly lookup: Lookup;
  readonly timeoutMs: number;
  /** Certificates to trust in place of the system's; for tests. */
  readonly ca?: string | undefined;
}

/**
 * Looks names up as the system does, the hosts file included. At most two at once: `getaddrinfo` holds one of the four
 * threads that also read files, for as long as the name server of a stranger likes.
 */
export function createLookup(): Lookup {
  const threads = pLimit(2);
  return (hostname) => threads(() => systemLookup(hostname, { all: true }));
}

/**
 * Connects to nothing that the reach does not permit. Names are judged by every address they have, in the look-up
 * whose answer the socket then takes: there is no second one that could answer differently. Node looks no literals up,
 * so they are judged before.
 */
export function guardedConnector({
  reach,
  lookup,
  timeoutMs,
  ca,
}: ConnectorOptions): buildConnector.connector {
  const judged: LookupFunction = (hostname, { all }, done) => {
    addressesOf(lookup, reach, hostname).then(
      (addresses) => {
        const [first] = addresses;
        if (all === true) done(null, [...addresses]);
        else done(null, first?.address ?? '', first?.family);
      },
      (error: unknown) => done(error as NodeJS.ErrnoException, [], 0),
    );
  };
  const connect = buildConnector({
    timeout: timeoutMs,
    allowH2: false,
    lookup: judged,
    ...(ca === undefined ? {} : { ca }),
  });
  return (options, done) => {
    const host = bareHost(options.hostname);
    if (isIP(host) !== 0 && !reach.permits(host, host)) return done(unreachable(), null);
    connect(options, done);
  };
}

async function addressesOf(lookup: Lookup, reach: Reach, hostname: string): ReturnType<Lookup> {
  const addresses = await lookup(hostname).catch((error: unknown) => {
    // A name that is not there and one of the inner network are told alike.
    if (isUnknown(error)) throw unreachable();
    throw new OutboundFailed('The host of the URL could not be looked up.', { passing: true, cause: error });
  });
  if (addresses.length === 0 || !addresses.every(({ address }) => reach.permits(hostname, address))) {
    throw unreachable();
  }
  return addresses;
}

function isUnknown(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOTFOUND' || code === 'ENODATA';
}
