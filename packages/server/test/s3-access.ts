import { pino } from 'pino';
import type { S3StoreOptions } from '../src/foundation/blobs/s3.js';

/** The S3 servers that the long suites know. */
export type S3ServerName = 'rgw' | 'swift';

/** The server's URL with the credentials in it, percent-encoded (`TEST_S3_RGW`, `TEST_S3_SWIFT`); undefined: not there. */
export function s3Url(name: S3ServerName): URL | undefined {
  const text = process.env[`TEST_S3_${name.toUpperCase()}`];
  return text === undefined ? undefined : new URL(text);
}

/** Options of a store on the server, by way of another address when one is given. */
export function s3Access(
  url: URL,
  bucket: string,
  endpoint = url.origin,
): S3StoreOptions & { backend: 's3' } {
  return {
    backend: 's3',
    bucket,
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: {
      accessKeyId: decodeURIComponent(url.username),
      secretAccessKey: decodeURIComponent(url.password),
    },
    createBucket: true,
    log: pino({ level: 'silent' }),
  };
}
