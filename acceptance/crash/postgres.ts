import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import pg from 'pg';

import { run } from '../running-server.js';

const program = fileURLToPath(new URL('../../packages/server/test/embedded-process.ts', import.meta.url));

/** One PostgreSQL for a whole run. */
export interface Postgres {
  /** Makes a database with the whole schema. @returns its URL. */
  make(name: string): Promise<string>;
  stop(): Promise<void>;
}

/**
 * The embedded PostgreSQL in a folder of its own, in a process of its own, or the one of `TEST_DATABASE_URL` (as a
 * superuser). It is not what crashes here, so it need not survive a power cut.
 */
export async function startPostgres(folder: string): Promise<Postgres> {
  const given = process.env['TEST_DATABASE_URL'];
  const server = given ? { url: given, stop: async () => undefined } : await startEmbedded(folder);
  const prefix = `mbk_crash_${process.pid}_${Date.now().toString(36)}`;
  const template = `${prefix}_template`;
  const made: string[] = [];
  const at = (name: string): string => {
    const url = new URL(server.url);
    url.pathname = `/${name}`;
    return url.href;
  };
  const stop = async (): Promise<void> => {
    if (given) {
      for (const name of [...made, template])
        await ask(given, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    }
    await server.stop();
  };
  try {
    await ask(server.url, `CREATE DATABASE ${template} TEMPLATE template0`);
    const { code, output } = await run(['migrate'], {
      PATH: process.env['PATH'],
      MBK_DATA_FOLDER: folder,
      DATABASE_URL: at(template),
    });
    if (code !== 0) throw new Error(`mediablobkit migrate ended with ${code}:\n${output}`);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    async make(name) {
      const full = `${prefix}_${name.replaceAll(/\W/g, '_')}`;
      await ask(server.url, `CREATE DATABASE ${full} TEMPLATE ${template}`);
      made.push(full);
      return at(full);
    },
    stop,
  };
}

async function ask(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

async function startEmbedded(folder: string): Promise<{ url: string; stop(): Promise<void> }> {
  const settings = {
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    max_connections: '200',
  };
  const child = spawn(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), program, join(folder, 'postgres'), JSON.stringify(settings)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const exited = once(child, 'exit');
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exited.then(() => Promise.reject(new Error('the process of the embedded PostgreSQL ended'))),
  ])) as [string];
  const { url, refused } = JSON.parse(line) as { url?: string; refused?: string };
  if (url === undefined) throw new Error(`no embedded PostgreSQL: ${refused}`);
  return {
    url,
    async stop() {
      child.stdin.end();
      await exited;
    },
  };
}

/** Where the server of a URL listens, as fault proxies want it. */
export function targetOf(
  url: string,
): { readonly path: string } | { readonly host: string; readonly port: number } {
  const { hostname, port, searchParams } = new URL(url);
  const folder = searchParams.get('host');
  if (folder?.startsWith('/')) return { path: join(folder, `.s.PGSQL.${port || 5432}`) };
  return { host: hostname, port: Number(port || 5432) };
}

/** The same database through a proxy: on a unix socket in `folder`, or on a port of loopback. */
export function through(url: string, proxy: { readonly folder: string } | { readonly port: number }): string {
  const other = new URL(url);
  if ('folder' in proxy) other.searchParams.set('host', proxy.folder);
  else {
    other.searchParams.delete('host');
    other.hostname = '127.0.0.1';
    other.port = String(proxy.port);
  }
  return other.href;
}
