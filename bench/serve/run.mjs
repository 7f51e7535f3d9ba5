/**
 * npm run bench:serve — files sent by the built server (disk store, access log off), beside plain `node:http` and
 * nginx, all under wrk with 32 connections in one interleaved run; medians count.
 *
 *   --seconds=4      of each measurement
 *   --rounds=3
 *   --s3             redirects to a bucket too: TEST_S3_RGW=http://key:secret@host:port, or else radosgw is started
 *   --json           figures only
 *
 * Needs Linux, the built server, wrk and nginx (Debian: wrk, nginx-light).
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import {
  bucketOn,
  cpuOf,
  flag,
  median,
  option,
  root,
  start,
  startNginx,
  startOurs,
  startS3,
  table,
  verdict,
} from '../machine.mjs';

const seconds = option('seconds', 4);
const rounds = option('rounds', 3);
const here = fileURLToPath(new URL('.', import.meta.url));
const kilobytes = 50 * 1024;
const megabytes = 5 * 1024 * 1024;
/** Read from the disk for each request; their rows are remembered. */
const coldFiles = 100;
/** So many that no row is asked for twice within the second for which it is remembered. */
const uncachedFiles = 4000;

for (const program of ['wrk', 'nginx']) {
  if (spawnSync(program, ['-v']).error !== undefined) {
    console.error(`${program} is not installed (Debian: wrk, nginx-light)`);
    process.exit(1);
  }
}
const built = spawnSync('node', [join(root, 'scripts/build.mjs')], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);

const scratch = await mkdtemp(join(tmpdir(), 'mbk-bench-serve-'));
const closers = [];
try {
  report(await measureAll());
} finally {
  for (const close of closers.reverse()) await close();
  await rm(scratch, { recursive: true, force: true });
}

async function measureAll() {
  const files = join(scratch, 'files');
  await mkdir(files);
  const small = randomBytes(kilobytes);
  const large = randomBytes(megabytes);
  await writeFile(join(files, 'small'), small);
  await writeFile(join(files, 'large'), large);
  for (let n = 0; n < coldFiles; n++) await writeFile(join(files, `cold${n}`), randomBytes(kilobytes));

  const data = join(scratch, 'data');
  const open = { visibility: 'public' };
  const env = { MBK_ACCESS_LOG: 'false', LOG_LEVEL: 'warn' };
  const hot = await startOurs(data, env, open);
  closers.push(() => hot.stop());
  const cold = await startOurs(join(scratch, 'cold'), { ...env, MBK_MEMORY_CACHE: '0' }, open);
  closers.push(() => cold.stop());
  const closed = await startOurs(join(scratch, 'closed'), env, { visibility: 'private' });
  closers.push(() => closed.stop());
  const accel = await startOurs(join(scratch, 'accel'), { ...env, MBK_ACCEL_REDIRECT: '/blobs/' }, open);
  closers.push(() => accel.stop());
  const port = await start(process.execPath, [join(here, 'reference.mjs'), files], {
    ready: /listening \d+/,
  });
  closers.push(() => port.stop());
  const reference = { pid: port.pid, url: `http://127.0.0.1:${/listening (\d+)/.exec(port.output())[1]}` };
  const plain = join(scratch, 'nginx');
  await mkdir(plain);
  const nginx = await startNginx(
    plain,
    `root ${files}; etag on; location = /redirect { return 302 /small; } location / { }`,
  );
  closers.push(() => nginx.stop());
  const front = join(scratch, 'front');
  await mkdir(front);
  const proxy = await startNginx(
    front,
    `location / { proxy_pass http://127.0.0.1:${accel.port}; proxy_http_version 1.1; proxy_set_header Connection ""; }
     location /blobs/ { internal; alias ${join(scratch, 'accel/blobs')}/; }`,
  );
  closers.push(() => proxy.stop());

  const upload = async (ours, bytes) => {
    const answer = await fetch(`${ours.url}/projects/${ours.projectId}/upload?filename=x.bin`, {
      method: 'POST',
      headers: { 'x-api-key': ours.key, 'content-type': 'application/octet-stream' },
      body: bytes,
    });
    const { id } = await answer.json();
    return id;
  };
  const smallId = await upload(hot, small);
  const closedId = await upload(closed, small);
  const largeId = await upload(hot, large);
  const coldIds = [];
  for (let n = 0; n < coldFiles; n++) coldIds.push(await upload(cold, randomBytes(kilobytes)));
  const uncachedIds = [];
  for (let n = 0; n < uncachedFiles; n += 16) {
    uncachedIds.push(
      ...(await Promise.all(Array.from({ length: 16 }, () => upload(cold, randomBytes(kilobytes))))),
    );
  }
  const accelId = await upload(accel, large);
  const tagOf = async (url) => (await fetch(url, { method: 'HEAD' })).headers.get('etag');
  const smallUrl = `${hot.url}/files/${smallId}/content`;
  const link = await fetch(`${hot.url}/files/${smallId}/links`, {
    method: 'POST',
    headers: { 'x-api-key': hot.key, 'content-type': 'application/json' },
    body: '{}',
  }).then((answer) => answer.json());
  const signed = new URL(link.url);
  const nginxTag = await tagOf(`${nginx.url}/small`);

  const one = (url, headers = {}) => ({ url, paths: [new URL(url).pathname + new URL(url).search], headers });
  const many = (base, paths) => ({ url: base, paths, headers: {} });
  const names = Array.from({ length: coldFiles }, (_, n) => `/cold${n}`);
  const fromDisk = (ids) => [
    many(
      cold.url,
      ids.map((id) => `/files/${id}/content`),
    ),
    many(
      reference.url,
      names.map((name) => `${name}?cold`),
    ),
    many(nginx.url, names),
  ];
  const cases = {
    '50 KB hot': [one(smallUrl), one(`${reference.url}/small`), one(`${nginx.url}/small`)],
    '50 KB cold': fromDisk(coldIds),
    '5 MB': [
      one(`${hot.url}/files/${largeId}/content`),
      one(`${reference.url}/large?cold`),
      one(`${nginx.url}/large`),
    ],
    304: [
      one(smallUrl, { 'if-none-match': await tagOf(smallUrl) }),
      one(`${reference.url}/small`, { 'if-none-match': '"reference"' }),
      one(`${nginx.url}/small`, { 'if-none-match': nginxTag }),
    ],
    'signed link': [
      one(`${hot.url}${signed.pathname}${signed.search}`),
      one(`${reference.url}/small`),
      one(`${nginx.url}/small`),
    ],
    'private, by key': [
      one(`${closed.url}/files/${closedId}/content`, { 'x-api-key': closed.key }),
      one(`${reference.url}/small`),
      one(`${nginx.url}/small`),
    ],
    '50 KB uncached': fromDisk(uncachedIds),
    'X-Accel 5 MB': [
      one(`${proxy.url}/files/${accelId}/content`),
      one(`${reference.url}/large?cold`),
      one(`${nginx.url}/large`),
    ],
  };
  const pids = {
    '50 KB cold': [cold.pid],
    '50 KB uncached': [cold.pid],
    'private, by key': [closed.pid],
    'X-Accel 5 MB': [accel.pid, proxy.pid],
  };
  if (flag('s3')) {
    const store = await startS3(join(scratch, 'rgw'));
    closers.push(() => store.stop());
    const bucket = await startOurs(join(scratch, 'bucket'), { ...env, ...bucketOn(store) }, open);
    closers.push(() => bucket.stop());
    const id = await upload(bucket, small);
    cases[302] = [
      one(`${bucket.url}/files/${id}/content`),
      one(`${reference.url}/redirect`),
      one(`${nginx.url}/redirect`),
    ];
    pids[302] = [bucket.pid];
  }
  const results = {};
  for (const [name, [ours, node, web]] of Object.entries(cases)) {
    const pid = pids[name] ?? [hot.pid];
    const runs = { ours: [], node: [], nginx: [] };
    // The first round warms, and is not counted.
    for (let round = 0; round <= rounds; round++) {
      for (const [who, target, pids] of [
        ['ours', ours, pid],
        ['node', node, [reference.pid]],
        ['nginx', web, [nginx.pid]],
      ]) {
        const run = await load(target, pids, round === 0 ? 1 : seconds);
        if (round > 0) runs[who].push(run);
      }
    }
    results[name] = Object.fromEntries(
      Object.entries(runs).map(([who, list]) => [
        who,
        {
          perSecond: median(list.map((run) => run.perSecond)),
          cpu: median(list.map((run) => run.cpu)),
          p99: median(list.map((run) => run.p99)),
        },
      ]),
    );
    if (!flag('json')) console.log(`  ${name}`);
  }
  return results;
}

async function load({ url, paths, headers }, pids, duration) {
  const script = join(scratch, 'load.lua');
  await writeFile(
    script,
    `local paths = {${paths.map((path) => JSON.stringify(path)).join(',')}}
local n = 0
request = function() n = n % #paths + 1; return wrk.format("GET", paths[n]) end
${Object.entries(headers)
  .map(([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`)
  .join('\n')}
done = function(summary, latency) io.write(string.format("FIGURES %d %d %f %d\\n", summary.requests, summary.duration, latency:percentile(99) / 1000, summary.errors.status + summary.errors.read + summary.errors.timeout)) end
`,
  );
  const before = pids.reduce((sum, pid) => sum + cpuOf(pid), 0);
  const child = spawn('wrk', ['-t1', '-c32', `-d${duration}s`, '-s', script, new URL(url).origin], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  await once(child, 'close');
  const cpu = pids.reduce((sum, pid) => sum + cpuOf(pid), 0) - before;
  const [, requests, microseconds, p99, errors] = /FIGURES (\d+) (\d+) ([\d.]+) (\d+)/.exec(output);
  if (Number(errors) > 0) throw new Error(`${errors} requests to ${url} failed`);
  return {
    perSecond: (Number(requests) / Number(microseconds)) * 1e6,
    cpu: cpu / Number(requests),
    p99: Number(p99),
  };
}

function report(results) {
  const rows = Object.entries(results).map(([name, { ours, node, nginx }]) => [
    name,
    ours.perSecond.toFixed(0),
    (ours.perSecond / node.perSecond).toFixed(2),
    (ours.perSecond / nginx.perSecond).toFixed(2),
    (ours.cpu / nginx.cpu).toFixed(1),
    (node.cpu / nginx.cpu).toFixed(1),
    `${ours.p99.toFixed(1)} ms`,
  ]);
  const say = flag('json') ? () => undefined : (text) => console.log(text);
  say(`\nmedians of ${rounds} rounds of ${seconds} s, 32 connections`);
  say(table([['', 'requests/s', '÷ node:http', '÷ nginx', 'CPU ÷ nginx', "node:http's", 'p99'], ...rows]));
  const most = { '50 KB hot': 7, '50 KB cold': 12, '5 MB': 7, 304: 7, 302: 7, 'X-Accel 5 MB': 2.5 };
  const judged = Object.entries(most).filter(([name]) => results[name]);
  const lines = judged.map(([name, limit]) => {
    const ratio = results[name].ours.cpu / results[name].nginx.cpu;
    return verdict(`CPU per request, ${name} ≤ ${limit} × nginx`, ratio.toFixed(1), ratio <= limit);
  });
  const rate = results['50 KB hot'].ours.perSecond / results['50 KB hot'].node.perSecond;
  lines.push(verdict('50 KB hot ≥ 0.5 of node:http', rate.toFixed(2), rate >= 0.5));
  if (flag('json')) console.log(JSON.stringify({ seconds, rounds, results, goals: lines }, undefined, 2));
  else console.log(`\n${lines.join('\n')}`);
}
