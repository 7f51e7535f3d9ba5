/** What the suites share: the built server with a project and a key, stores, bytes, programs. */
import { execFile } from 'node:child_process';
import { createCipheriv, createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Api } from '../acceptance/api.ts';
import { environment, run, startServer, temporaryFolder, until } from '../acceptance/running-server.ts';

const execute = promisify(execFile);

/** The S3 server that scripts/clients.mjs has started; undefined when there is none. */
export const s3 = s3Server(process.env.TEST_S3_RGW);

/** The stores that a suite is run on; one that is not there is skipped, and says so. */
export const stores = [
  { name: 'the disk', missing: undefined, settings: () => ({}) },
  {
    name: 'radosgw',
    missing: s3 ? undefined : 'needs TEST_S3_RGW; npm run test:clients starts it',
    settings: s3Settings,
  },
];

function s3Server(text) {
  if (text === undefined) return undefined;
  const url = new URL(text);
  return {
    endpoint: url.origin,
    host: url.host,
    key: decodeURIComponent(url.username),
    secret: decodeURIComponent(url.password),
  };
}

/** Settings of a server on a bucket that nobody else has. */
export function s3Settings() {
  return {
    MBK_S3_ENDPOINT: s3.endpoint,
    MBK_S3_BUCKET: `clients-${randomUUID()}`,
    MBK_S3_CREATE_BUCKET: 'true',
    AWS_ACCESS_KEY_ID: s3.key,
    AWS_SECRET_ACCESS_KEY: s3.secret,
  };
}

/**
 * The built server in a folder of its own, with a person, a project and a key.
 * @param {Record<string, string>} settings
 * @param {number} [port] a free one when absent
 */
export async function openScene(settings = {}, port = undefined) {
  const folder = await temporaryFolder();
  const dataFolder = join(folder.path, 'data');
  const files = join(folder.path, 'files');
  await Promise.all([mkdir(dataFolder), mkdir(files)]);
  const start = (at) => startServer({ dataFolder, port: at, env: settings });
  let server;
  try {
    server = await start(port);
    const me = await Api.register(server.url);
    const project = await me.project();
    const { body } = await me.call('POST', `/projects/${project}/keys`, { name: 'clients' });
    return {
      url: server.url,
      me,
      project,
      key: body.key,
      /** Where the suite keeps its own files. */
      files,
      /** SIGKILL to the server and all that it has started, its PostgreSQL too; then it is started again. */
      async killAndRestart() {
        await server.killTree();
        server = await start(server.port);
      },
      /** A command of the built program with the server's settings. */
      command: (...args) => run(args, environment({ dataFolder, env: settings }, server.port)),
      /** The file once nothing is made of it any more. */
      async settled(id) {
        await until(`${id} is processed`, 60, async () => (await me.file(id)).status !== 'processing');
        return me.file(id);
      },
      async close() {
        await server.stop();
        await folder.remove();
      },
    };
  } catch (error) {
    await server?.stop();
    await folder.remove();
    throw error;
  }
}

/**
 * Runs a program to its end.
 * @returns its standard output; what fails says what the program said
 */
export async function program(path, args, options = {}) {
  try {
    const { stdout } = await execute(path, args, { maxBuffer: 64 * 1024 * 1024, ...options });
    return stdout;
  } catch (error) {
    throw new Error(`${path} ${args.join(' ')} ended with ${error.code}:\n${error.stdout}${error.stderr}`, {
      cause: error,
    });
  }
}

/** Bytes that do not compress and are the same on every run. */
export function noise(length) {
  // A stream cipher makes 100 MiB in a tenth of a second.
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16)).update(Buffer.alloc(length));
}

export function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

export async function sha256OfFile(path) {
  return sha256(await readFile(path));
}

/** SHA-256 of what an address answers, redirects followed. */
export async function sha256OfUrl(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  const hash = createHash('sha256');
  for await (const chunk of answer.body) hash.update(chunk);
  return hash.digest('hex');
}
