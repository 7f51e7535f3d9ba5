/** What the benchmarks of the server share: processes, their CPU and memory, nginx, free ports. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
const main = join(root, 'packages/server/bin/mediablobkit.js');
/** Clock ticks a second in /proc/PID/stat: 100 on every Linux that Node.js runs on. */
const ticks = 100;

/** Whether `--name` is given. */
export const flag = (name) => process.argv.includes(`--${name}`);

/** The number of `--name=…`. */
export function option(name, standard) {
  const given = process.argv.find((argument) => argument.startsWith(`--${name}=`));
  return given ? Number(given.slice(name.length + 3)) : standard;
}

export async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

/** CPU seconds (user and system) that a process has used so far. */
export function cpuOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name, in parentheses, may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticks;
}

/** Resident memory in bytes. */
export function memoryOf(pid) {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) * 1024;
}

/** Looks at a process's memory until told to stop; resolves with the peak in bytes. */
export function watchMemory(pid) {
  let peak = memoryOf(pid);
  const timer = setInterval(() => {
    peak = Math.max(peak, memoryOf(pid));
  }, 25);
  return () => {
    clearInterval(timer);
    return Math.max(peak, memoryOf(pid));
  };
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The value below which a share of the numbers lies, by the nearest rank. */
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/** Starts a program that says so in its output when it is ready. */
export async function start(command, args, { ready, env = process.env, cwd } = {}) {
  const child = spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ended = once(child, 'exit');
  await new Promise((resolve, reject) => {
    const hear = (chunk) => {
      output = (output + chunk).slice(-20_000);
      if (ready.test(output)) resolve();
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    ended.then(() => reject(new Error(`${command} ended before it was ready:\n${output}`)));
  });
  return {
    pid: child.pid,
    output: () => output,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Waits until somebody listens. */
export async function waitFor(url) {
  for (let tries = 0; tries < 200; tries++) {
    try {
      await (await fetch(url)).arrayBuffer();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`nobody answers at ${url}`);
}

/**
 * The built server (`api`: without its worker) in a folder of its own.
 * @returns also `call`, which speaks JSON to it as its first account, and a project's id and key.
 */
export async function startOurs(folder, env = {}, settings = {}, command = 'start') {
  const port = await freePort();
  const server = await start(process.execPath, [main, command], {
    ready: /listening|http:\/\/localhost/,
    env: environment(folder, { PORT: String(port), ...env }),
  });
  const url = `http://127.0.0.1:${port}`;
  await waitFor(`${url}/readyz`);
  const call = async (path, body, headers = {}) => {
    const answer = await fetch(url + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${text}`);
    return JSON.parse(text);
  };
  const { accessToken } = await call('/auth/register', {
    email: 'bench@example.com',
    password: 'correct-horse-battery',
  });
  const person = { authorization: `Bearer ${accessToken}` };
  const project = await call('/projects', { name: 'bench', settings }, person);
  const { key } = await call(`/projects/${project.id}/keys`, { name: 'bench' }, person);
  return { ...server, url, port, call, person, projectId: project.id, key };
}

/** A worker process that joins the server of the folder. */
export function startWorker(folder, env = {}) {
  return start(process.execPath, [main, 'worker'], {
    ready: /the worker is ready/,
    env: environment(folder, env),
  });
}

function environment(folder, env) {
  return {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    MBK_DATA_FOLDER: folder,
    MBK_LOG_FORMAT: 'json',
    ...env,
  };
}

/** Uploads a file by the key of a server that `startOurs` has started. */
export async function uploadTo(ours, name, bytes) {
  const answer = await fetch(`${ours.url}/projects/${ours.projectId}/upload?filename=${name}`, {
    method: 'POST',
    headers: { 'x-api-key': ours.key, 'content-type': 'application/octet-stream' },
    body: bytes,
  });
  if (!answer.ok) throw new Error(`the upload of ${name} answered ${answer.status}: ${await answer.text()}`);
  return await answer.json();
}

/** nginx with one worker; `server` is the inside of its server block. */
export async function startNginx(folder, server) {
  const port = await freePort();
  for (const name of ['logs', 'body', 'proxy']) await mkdir(join(folder, name), { recursive: true });
  const configuration = join(folder, 'nginx.conf');
  await writeFile(
    configuration,
    `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/logs/error.log;
user ${process.getuid() === 0 ? 'root' : 'nobody'};
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/body;
  uwsgi_temp_path ${folder}/body; scgi_temp_path ${folder}/body;
  server { listen 127.0.0.1:${port}; ${server} }
}
`,
  );
  const child = spawn('nginx', ['-p', folder, '-c', configuration, '-e', `${folder}/logs/start.log`], {
    stdio: 'ignore',
  });
  const failed = once(child, 'error').then(([error]) => {
    throw new Error('nginx is not installed (Debian: nginx-light)', { cause: error });
  });
  const url = `http://127.0.0.1:${port}`;
  await Promise.race([waitFor(`${url}/`), failed]);
  const worker = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1').trim().split(' ')[0];
  return {
    pid: Number(worker),
    url,
    port,
    async stop() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/**
 * A real S3 server: that of TEST_S3_RGW (http://key:secret@host:port, percent-encoded), or else radosgw, which is installed
 * (Debian's packages) and started with room for so many GiB.
 */
export async function startS3(folder, gib = 6) {
  if (process.env.TEST_S3_RGW) {
    const { origin, username, password } = new URL(process.env.TEST_S3_RGW);
    return {
      origin,
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      stop: async () => undefined,
    };
  }
  const script = (name, ...args) => {
    const done = spawnSync('bash', [join(root, 'scripts/s3', name), ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, RGW_GIB: String(gib) },
    });
    if (done.status !== 0) throw new Error(`${name} ${args.join(' ')} failed`);
  };
  script('install.sh', 'rgw');
  const port = await freePort();
  try {
    script('rgw.sh', 'start', folder, String(port));
  } catch (error) {
    script('rgw.sh', 'stop', folder);
    throw error;
  }
  return {
    origin: `http://127.0.0.1:${port}`,
    username: 'mbkkey',
    password: 'mbksecret',
    stop: async () => script('rgw.sh', 'stop', folder),
  };
}

/** Environment of a server that stores in a new bucket there. */
export function bucketOn({ origin, username, password }) {
  return {
    MBK_S3_BUCKET: `bench-${Date.now()}`,
    MBK_S3_ENDPOINT: origin,
    MBK_S3_REGION: 'us-east-1',
    MBK_S3_CREATE_BUCKET: 'true',
    AWS_ACCESS_KEY_ID: username,
    AWS_SECRET_ACCESS_KEY: password,
  };
}

/** A row of a report: text cells padded to columns. */
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => String(cell).padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function verdict(goal, value, met) {
  return `${met ? 'met    ' : 'NOT MET'}  ${goal}: ${value}`;
}
