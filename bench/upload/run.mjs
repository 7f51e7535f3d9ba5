/**
 * npm run bench:upload — a large file by every way in, into the built server as a user starts it: throughput, memory
 * and CPU of the server's process, beside `node:http` that does the least of it, nginx (dav PUT), and on S3 beside
 * @aws-sdk/lib-storage. Rounds are interleaved; medians count.
 *
 *   --mib=1024       size of the file
 *   --rounds=3       rounds
 *   --s3             into S3 as well: TEST_S3_RGW=http://key:secret@host:port, or else radosgw is started
 *                    (scripts/s3/install.sh rgw)
 *   --json           figures only
 *
 * Needs Linux and the built server (npm run build); nginx (Debian: nginx-light) is left out where it is not installed.
 */
import { fork, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import {
  bucketOn,
  cpuOf,
  flag,
  median,
  memoryOf,
  option,
  root,
  start,
  startNginx,
  startOurs,
  startS3,
  table,
  verdict,
  watchMemory,
} from '../machine.mjs';

const mebibyte = 1024 * 1024;
const mib = option('mib', 1024);
const bytes = mib * mebibyte;
const rounds = option('rounds', 3);
const here = fileURLToPath(new URL('.', import.meta.url));
const say = flag('json') ? () => undefined : (line) => console.log(line);

if (!existsSync(join(root, 'bench/node_modules/@aws-sdk/lib-storage'))) {
  const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: join(root, 'bench'),
    stdio: 'inherit',
  });
  if (installed.status !== 0) process.exit(installed.status ?? 1);
}
const built = spawnSync('node', [join(root, 'scripts/build.mjs')], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);

const scratch = await mkdtemp(join(tmpdir(), 'mbk-bench-upload-'));
const closers = [];
const client = child('client.mjs');
const results = {};
try {
  results.disk = await onDisk();
  if (flag('s3')) results.s3 = await onS3();
  report();
} finally {
  client.kill();
  for (const close of closers.reverse()) await close();
  await rm(scratch, { recursive: true, force: true });
}

function child(name) {
  return fork(join(here, name), { stdio: 'inherit' });
}

function tell(worker, job) {
  return new Promise((resolve, reject) => {
    worker.once('message', (answer) => (answer.error ? reject(new Error(answer.error)) : resolve(answer)));
    worker.send(job);
  });
}

/** One upload: seconds, and CPU and peak memory of the process that takes it. */
async function measure(pid, job) {
  // Whatever the upload before has left to be collected is not this one's.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const stop = watchMemory(pid);
  const before = cpuOf(pid);
  const { seconds } = await tell(client, { bytes, ...job }).catch((error) => {
    stop();
    throw error;
  });
  // What a job does after the answer counts too.
  await new Promise((resolve) => setTimeout(resolve, 200));
  return { seconds, cpu: cpuOf(pid) - before, peak: stop() };
}

function waysInto({ url, projectId, key }) {
  const headers = { 'x-api-key': key };
  const project = `${url}/projects/${projectId}`;
  return {
    raw: { way: 'raw', url: `${project}/upload`, headers },
    multipart: { way: 'multipart', url: `${project}/upload`, headers },
    tus: { way: 'tus', url: `${project}/tus`, headers },
    direct: { way: 'direct', url: `${project}/uploads`, headers },
  };
}

/** A small upload by each way: code is compiled, pools are open. */
async function warm(ways) {
  for (const job of Object.values(ways)) await tell(client, { ...job, bytes: 72 * mebibyte });
}

async function rounded(runs) {
  const all = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(runs)) all[name].push(await run());
    say(`  round ${round + 1} of ${rounds}`);
  }
  return Object.fromEntries(
    Object.entries(all).map(([name, list]) => [
      name,
      {
        seconds: median(list.map((one) => one.seconds)),
        cpuPerGib: median(list.map((one) => one.cpu)) / (mib / 1024),
        peak: Math.max(...list.map((one) => one.peak)),
      },
    ]),
  );
}

async function onDisk() {
  say(`${mib} MiB to disk`);
  const ours = await startOurs(join(scratch, 'disk'), { MBK_MAX_UPLOAD_BYTES: '64GiB' });
  closers.push(() => ours.stop());
  const port = await start(process.execPath, [join(here, 'reference.mjs'), scratch], {
    ready: /listening \d+/,
  });
  closers.push(() => port.stop());
  const reference = { pid: port.pid, url: `http://127.0.0.1:${/listening (\d+)/.exec(port.output())[1]}/` };
  const runs = {
    'node:http + sha256': () => measure(reference.pid, { way: 'put', url: reference.url }),
  };
  if (spawnSync('nginx', ['-v']).error === undefined) {
    const folder = join(scratch, 'nginx');
    await mkdir(join(folder, 'files'), { recursive: true });
    const nginx = await startNginx(
      folder,
      `root ${folder}/files; client_max_body_size 0; dav_methods PUT DELETE; location / { }`,
    );
    closers.push(() => nginx.stop());
    runs['nginx dav PUT'] = async () => {
      const result = await measure(nginx.pid, { way: 'put', url: `${nginx.url}/bench.bin` });
      await rm(join(folder, 'files/bench.bin'));
      return result;
    };
  }
  const ways = waysInto(ours);
  const idle = memoryOf(ours.pid);
  await warm(ways);
  for (const [name, job] of Object.entries(ways)) runs[name] = () => measure(ours.pid, job);
  return { idle, figures: await rounded(runs) };
}

async function onS3() {
  say(`${mib} MiB to S3`);
  // Every round leaves five files, and what was staged for one of them.
  const server = await startS3(join(scratch, 'rgw'), 4 + Math.ceil((mib / 1024) * 6.5 * rounds));
  closers.push(() => server.stop());
  const settings = bucketOn(server);
  const bucket = settings.MBK_S3_BUCKET;
  const ours = await startOurs(join(scratch, 's3'), { MBK_MAX_UPLOAD_BYTES: '64GiB', ...settings });
  closers.push(() => ours.stop());
  const library = child('library.mjs');
  closers.push(async () => library.kill());
  const access = {
    endpoint: server.origin,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: server.username, secretAccessKey: server.password },
  };
  const ways = waysInto(ours);
  const idle = memoryOf(ours.pid);
  await warm(ways);
  const runs = {
    'lib-storage 8 MiB × 2': async () => {
      const stop = watchMemory(library.pid);
      const before = cpuOf(library.pid);
      const { seconds } = await tell(library, { access, bucket, key: 'bench.bin', bytes });
      return { seconds, cpu: cpuOf(library.pid) - before, peak: stop() };
    },
  };
  for (const [name, job] of Object.entries(ways)) runs[name] = () => measure(ours.pid, job);
  return { idle, figures: await rounded(runs) };
}

function report() {
  const lines = [];
  for (const [store, { idle, figures }] of Object.entries(results)) {
    const base = figures[store === 'disk' ? 'node:http + sha256' : 'lib-storage 8 MiB × 2'];
    const nginx = figures['nginx dav PUT'];
    const rows = Object.entries(figures).map(([name, { seconds, cpuPerGib, peak }]) => [
      name,
      `${(mib / seconds).toFixed(0)} MiB/s`,
      (base.seconds / seconds).toFixed(2),
      cpuPerGib.toFixed(2),
      nginx ? (cpuPerGib / nginx.cpuPerGib).toFixed(1) : '-',
      `${(peak / mebibyte).toFixed(0)} MiB`,
      name in { raw: 1, multipart: 1, tus: 1, direct: 1 } ? `+${((peak - idle) / mebibyte).toFixed(0)}` : '',
    ]);
    say(`\n${store}, ${mib} MiB, medians of ${rounds} rounds; idle ${(idle / mebibyte).toFixed(0)} MiB`);
    say(table([['', 'throughput', 'ratio', 'CPU-s/GiB', '÷ nginx', 'peak RSS', 'above idle'], ...rows]));
    const limit = store === 'disk' ? 64 : 96;
    for (const name of ['raw', 'multipart', 'tus', 'direct']) {
      const above = (figures[name].peak - idle) / mebibyte;
      lines.push(verdict(`${store}: ${name} above idle < ${limit} MiB`, above.toFixed(0), above < limit));
    }
    for (const [name, least] of [
      ['raw', 0.9],
      ['multipart', 0.8],
    ]) {
      const ratio = base.seconds / figures[name].seconds;
      lines.push(verdict(`${store}: ${name} ≥ ${least} of the reference`, ratio.toFixed(2), ratio >= least));
    }
    if (nginx) {
      for (const [name, most] of [
        ['raw', 5.5],
        ['multipart', 6.5],
      ]) {
        const ratio = figures[name].cpuPerGib / nginx.cpuPerGib;
        lines.push(verdict(`CPU: ${name} ≤ ${most} × nginx`, ratio.toFixed(1), ratio <= most));
      }
    }
  }
  if (flag('json')) console.log(JSON.stringify({ mib, rounds, ...results, goals: lines }, undefined, 2));
  else
    console.log(
      `\n${lines.join('\n')}\n\nnginx does not wait until the bytes are on the disk (fsync); the server does.`,
    );
}
