// Runs the long S3 suites (packages/server/test/long/s3-*.long.ts) on real servers: installs them, starts them, runs
// the suites, stops them.
//   node scripts/s3/test.mjs [rgw] [swift]      both when none is named
// TEST_S3_RGW or TEST_S3_SWIFT (see packages/server/test/long/s3-contract.long.ts) names a server that runs
// already; the others are started here in a temporary folder, which is removed at the end. TEST_S3_RGW_FOLDER is the
// folder of a gateway that the fault suite may kill; TEST_BOUNDED=1 shortens its loops.
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

/** Runs a program to its end and gives its exit code. */
async function run(program, args, environment = {}) {
  const child = spawn(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  const [code, signal] = await once(child, 'exit');
  return signal ? 1 : code;
}

async function must(program, args) {
  const code = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}`);
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

async function main() {
  const named = process.argv.slice(2);
  for (const name of named) {
    if (!(name in credentials)) throw new Error(`unknown server ${name} (rgw, swift)`);
  }
  const wanted = named.length > 0 ? named : Object.keys(credentials);
  const environment = {};
  const started = [];
  const folder = await mkdtemp(join(tmpdir(), 'mediablobkit-s3-'));
  const stop = async () => {
    for (const name of started) await run('bash', [join(here, `${name}.sh`), 'stop', join(folder, name)]);
    await rm(folder, { recursive: true, force: true });
  };
  // An interrupt reaches the children too; the run below then ends, and the servers are stopped.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  try {
    for (const name of wanted) {
      const variable = `TEST_S3_${name.toUpperCase()}`;
      if (process.env[variable]) continue;
      await must('bash', [join(here, 'install.sh'), name]);
      const port = await freePorts(name === 'rgw' ? 18400 : 19400);
      started.push(name);
      await must('bash', [join(here, `${name}.sh`), 'start', join(folder, name), String(port)]);
      environment[variable] = `http://${credentials[name]}@127.0.0.1:${port}`;
      environment[`${variable}_FOLDER`] = join(folder, name);
    }
    return await run(
      process.execPath,
      [join(here, '..', 'test.mjs'), '--long', 'test/long/s3-'],
      environment,
    );
  } finally {
    await stop();
  }
}

process.exitCode = await main();
