import { S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { createRetries } from './s3-retries.js';

/** How a bucket is reached. */
export interface S3Access {
  readonly bucket: string;
  /** URL of the server; AWS itself when absent. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`; servers other than AWS mostly want it. */
  readonly forcePathStyle: boolean;
  /** The SDK's own chain (instance role, profile, web identity) when absent. */
  readonly credentials?:
    | {
        readonly accessKeyId: string;
        readonly secretAccessKey: string;
        readonly sessionToken?: string | undefined;
      }
    | undefined;
}

/**
 * Clients with connections of their own: a body that nobody reads holds its socket, and as many of those as
 * there are sockets would starve every put and delete of a shared client.
 */
export interface S3Clients {
  readonly read: S3Client;
  readonly write: S3Client;
  /** For what the store works on in silence: copies, and the joining of parts. */
  readonly patient: S3Client;
  close(): void;
}

const readSockets = 512;
const writeSockets = 64;
/** A server that does not accept a connection in this time is down or behind a firewall. */
const connectMs = 3_000;
/** Silence on a socket. 3 s cut a live upload at 200 kB/s; a hanging server is noticed within this time. */
const silenceMs = 45_000;
/** Silence while the store copies up to 5 GiB by itself; at 20 MB/s it takes 4 minutes. */
const workMs = 10 * 60_000;
const patientSockets = 32;
/** From a read's request to the head of its answer; bodies are not covered. */
const answerMs = 20_000;
/** Six tries over 4.6 to 9.3 s ride out an outage of 4 s and a restart of the gateway; the SDK's 3 × 50 ms do not. */
const readAttempts = 6;
/** Over 9.6 to 19.3 s: a put that fails costs its client everything that was sent so far. */
const writeAttempts = 8;
const delays = { firstDelayMs: 300, longestDelayMs: 5_000 };

export function openClients(access: S3Access): S3Clients {
  const read = openClient(access, {
    attempts: readAttempts,
    maxSockets: readSockets,
    socketTimeout: silenceMs,
    answerMs,
  });
  const write = openClient(access, {
    attempts: writeAttempts,
    maxSockets: writeSockets,
    socketTimeout: silenceMs,
  });
  const patient = openClient(access, {
    attempts: writeAttempts,
    maxSockets: patientSockets,
    socketTimeout: workMs,
  });
  return {
    read,
    write,
    patient,
    close: () => {
      for (const client of [read, write, patient]) client.destroy();
    },
  };
}

interface Connections {
  /** Times that a request is sent at most. */
  readonly attempts: number;
  readonly maxSockets: number;
  /** Milliseconds of silence. */
  readonly socketTimeout: number;
  /** Milliseconds to the head of an answer; unbounded when absent. */
  readonly answerMs?: number;
}

function openClient(access: S3Access, connections: Connections): S3Client {
  const { attempts, maxSockets, socketTimeout, answerMs: limit } = connections;
  const { endpoint, region, forcePathStyle, credentials } = access;
  return new S3Client({
    region,
    forcePathStyle,
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials && { credentials: { ...credentials } }),
    // The default, a CRC32 in a trailer, is refused or stored as part of the blob by servers of before 2025.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Waiting for "100 Continue" costs 6 s per part on servers that never send it.
    expectContinueHeader: false,
    retryStrategy: createRetries({ attempts, ...delays }),
    requestHandler: new NodeHttpHandler({
      connectionTimeout: connectMs,
      socketTimeout,
      ...(limit !== undefined && { requestTimeout: limit, throwOnRequestTimeout: true }),
      // Instances, not options: with options the SDK opens connections beside the limit for some bodies.
      httpAgent: new HttpAgent({ keepAlive: true, maxSockets }),
      httpsAgent: new HttpsAgent({ keepAlive: true, maxSockets }),
    }),
  });
}
