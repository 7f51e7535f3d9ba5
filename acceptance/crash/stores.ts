import { mkdir, readdir, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

import { DeleteObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

import type { Target } from '../../packages/server/test/fault-proxy.js';

/** The store of an installation, seen past the program. */
export interface Store {
  readonly kind: 'disk' | 's3';
  /** Settings of a process that reaches it by way of `port` of loopback, or directly. */
  env(port?: number): Readonly<Record<string, string>>;
  /** Where an S3 server listens; undefined for a disk. */
  readonly target: Target | undefined;
  /** Keys of blobs of the layout, with what is unfinished; what the program keeps for itself aside. */
  keys(): Promise<readonly string[]>;
  put(key: string, bytes: Uint8Array): Promise<void>;
  delete(key: string): Promise<void>;
  /** Lets everything in it be two days older, as far as the store allows. */
  age(): Promise<void>;
  close(): void;
}

const own = '.mediablobkit/';
const quarantine = '.quarantine/';
const twoDays = 2 * 24 * 60 * 60;

/** The blobs of a data folder. */
export function diskStore(dataFolder: string): Store {
  const root = join(dataFolder, 'blobs');
  const files = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) found.push(join(entry.parentPath, entry.name));
    }
    return found;
  };
  return {
    kind: 'disk',
    target: undefined,
    env: () => ({ MBK_STORE: 'disk' }),
    async keys() {
      return (await files())
        .map((path) => relative(root, path))
        .filter((key) => !key.startsWith(own) && !key.startsWith(quarantine));
    },
    async put(key, bytes) {
      const path = join(root, key);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
    },
    delete: (key) => unlink(join(root, key)),
    async age() {
      for (const path of [...(await files()), ...(await folders(root))]) {
        const { mtimeMs } = await stat(path);
        const then = mtimeMs / 1000 - twoDays;
        await utimes(path, then, then);
      }
    },
    close: () => undefined,
  };
}

/** Folders in which unfinished puts lie: their age is that of the put. */
async function folders(root: string): Promise<string[]> {
  const found = await readdir(join(root, '.multipart'), { withFileTypes: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  return found.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}

/** A bucket on the server that a URL with credentials names (`http://key:secret@host:port`). */
export function s3Store(server: URL, bucket: string): Store {
  const { hostname: host } = server;
  const port = Number(server.port || 80);
  const credentials = {
    accessKeyId: decodeURIComponent(server.username),
    secretAccessKey: decodeURIComponent(server.password),
  };
  const client = new S3Client({
    endpoint: server.origin,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  return {
    kind: 's3',
    target: { host, port },
    env: (proxy) => ({
      MBK_STORE: 's3',
      MBK_S3_BUCKET: bucket,
      MBK_S3_ENDPOINT: proxy === undefined ? server.origin : `http://127.0.0.1:${proxy}`,
      // What clients send to the store themselves is no step of the program.
      MBK_S3_PUBLIC_ENDPOINT: server.origin,
      MBK_S3_CREATE_BUCKET: 'true',
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    }),
    async keys() {
      const found: string[] = [];
      for (let token: string | undefined, more = true; more;) {
        const page = await client.send(
          new ListObjectsV2Command({ Bucket: bucket, ...(token ? { ContinuationToken: token } : {}) }),
        );
        found.push(...(page.Contents ?? []).map(({ Key }) => Key ?? ''));
        token = page.NextContinuationToken;
        more = token !== undefined;
      }
      return found.filter((key) => !key.startsWith(own) && !key.startsWith(quarantine));
    },
    async put(key, bytes) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes }));
    },
    async delete(key) {
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    },
    // Nobody can make an object older; bounds of a second and real time do.
    age: () => new Promise((resolve) => setTimeout(resolve, 1_500)),
    close: () => client.destroy(),
  };
}
