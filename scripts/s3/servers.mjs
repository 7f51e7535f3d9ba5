// S3 servers for tests: installed from Debian's packages, started on free loopback ports in a temporary folder.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const credentials = { rgw: 'mbkkey:mbksecret', swift: 'mbk%3Atester:testing' };

/** The servers that there are. */
export const serverNames = Object.keys(credentials);

/** Runs a program to its end and gives its exit code. */
export async function run(program, args, environment = {}) {
  const child = spawn(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  const [code, signal] = await once(child, 'exit');
  return signal ? 1 : code;
}

export async function must(program, args) {
  const code = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}`);
}

/** Whether a server runs already that the variables name. */
export function isServerNamed() {
  return serverNames.some((name) => process.env[`TEST_S3_${name.toUpperCase()}`]);
}

/**
 * Runs `use` while the servers run. One that `TEST_S3_RGW` or `TEST_S3_SWIFT` (see
 * packages/server/test/long/s3-contract.long.ts) names runs already and is left alone.
 * @param {readonly string[]} names
 * @param {(environment: Record<string, string>) => Promise<number>} use gets the variables that name those started here
 */
export async function withServers(names, use) {
  const environment = {};
  const started = [];
  const folder = await mkdtemp(join(tmpdir(), 'mediablobkit-s3-'));
  try {
    for (const name of names) {
      const variable = `TEST_S3_${name.toUpperCase()}`;
      if (process.env[variable]) continue;
      await must('bash', [join(here, 'install.sh'), name]);
      const port = await freePorts(name === 'rgw' ? 18400 : 19400);
      started.push(name);
      await must('bash', [join(here, `${name}.sh`), 'start', join(folder, name), String(port)]);
      environment[variable] = `http://${credentials[name]}@127.0.0.1:${port}`;
      environment[`${variable}_FOLDER`] = join(folder, name);
    }
    return await use(environment);
  } finally {
    for (const name of started) await run('bash', [join(here, `${name}.sh`), 'stop', join(folder, name)]);
    await rm(folder, { recursive: true, force: true });
  }
}

async function isFree(port) {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return true;
  } catch {
    // Taken: the caller looks further.
    return false;
  } finally {
    server.close();
  }
}

/** The first of five free ports in a row. The servers' own settings name their ports, so 0 would not do. */
async function freePorts(from) {
  for (let port = from; port < from + 1000; port += 5) {
    const free = await Promise.all([0, 1, 2, 3, 4].map((offset) => isFree(port + offset)));
    if (free.every(Boolean)) return port;
  }
  throw new Error(`no five free ports between ${from} and ${from + 1000}`);
}
