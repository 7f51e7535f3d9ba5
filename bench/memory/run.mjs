/**
 * npm run bench:memory — what a worker with two imaging children holds while it renders many mixed pictures: the
 * proportional share (PSS) of the worker and of its children, over time.
 *
 *   npm run bench:memory -- [--pictures=500] [--json]
 *
 * Two runs, each with a worker of its own: JPEG, PNG and WebP of up to 12 megapixels, by which the goals are judged, and
 * AVIF, GIF and progressive JPEG of 24 megapixels, reported apart. Ends with 1 when a goal is missed. Needs Linux.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { register } from 'tsx/esm/api';

import { buildOrExit } from '../../scripts/build.mjs';
import { flag, median, option, startOurs, startWorker, table, uploadTo, verdict } from '../machine.mjs';
import { watchShares } from './shares.mjs';

const pictures = option('pictures', 500);
/** Uploads that wait for the worker: enough that both children always have work. */
const ahead = 12;
const mebibyte = 2 ** 20;
const most = 350 * mebibyte;
/** By which the last third may pass the first one: the noise of which pictures fall together. */
const mostGrowth = 1.1;

await buildOrExit();
register();
const { heavyPictures, usualPictures } = await import('./pictures.mjs');

const scratch = await mkdtemp(join(tmpdir(), 'mbk-bench-memory-'));
const env = { MBK_IMAGING_PROCESSES: '2', MBK_ACCESS_LOG: 'false', LOG_LEVEL: 'info' };
const settings = {
  variants: {
    thumbnail: { width: 200, height: 200, fit: 'cover', format: 'webp' },
    medium: { width: 800, height: 800, fit: 'inside', format: 'webp' },
    large: { width: 1600, height: 1600, fit: 'inside', format: 'jpeg' },
    card: { width: 600, height: 400, fit: 'cover', format: 'avif' },
  },
};
let server;
try {
  const data = join(scratch, 'data');
  server = await startOurs(data, env, settings, 'api');
  const usual = await renderAll(data, await usualPictures(), pictures);
  const heavy = await renderAll(data, await heavyPictures(), Math.ceil(pictures / 5));
  report({ usual, heavy });
} finally {
  await server?.stop();
  await rm(scratch, { recursive: true });
}

/** Uploads the pictures in turn, as fast as the worker renders them. */
async function renderAll(data, files, count) {
  const worker = await startWorker(data, env);
  const stopWatching = watchShares(worker.pid);
  try {
    for (let sent = 0; sent < count; sent++) {
      while ((await unfinished()) >= ahead) await pause(50);
      const { name, bytes } = files[sent % files.length];
      await uploadTo(server, name, bytes);
    }
    while ((await unfinished()) > 0) await pause(50);
    return { count, samples: stopWatching() };
  } finally {
    stopWatching();
    await worker.stop();
  }
}

async function unfinished() {
  const path = `/projects/${server.projectId}/files?status=processing&limit=100`;
  const { data } = await server.call(path, undefined, { 'x-api-key': server.key });
  return data.length;
}

function report(runs) {
  const figures = Object.fromEntries(Object.entries(runs).map(([name, run]) => [name, summarise(run)]));
  const { peak, growth } = figures.usual;
  const lines = [
    verdict('PSS at its peak ≤ 350 MiB', mebibytes(peak), peak <= most),
    verdict(`last third ÷ first third ≤ ${mostGrowth}`, growth.toFixed(2), growth <= mostGrowth),
  ];
  process.exitCode = peak <= most && growth <= mostGrowth ? 0 : 1;
  if (flag('json')) {
    console.log(JSON.stringify({ pictures, ...figures, goals: lines }, undefined, 2));
    return;
  }
  const names = {
    usual: `${runs.usual.count} JPEG, PNG, WebP to 12 MP`,
    heavy: `${runs.heavy.count} AVIF, GIF, progressive 24 MP`,
  };
  const rows = Object.entries(figures).map(([name, run]) => [
    names[name],
    ...[run.first, run.last, run.median, run.peak, run.workerPeak, run.childPeak].map(mebibytes),
    run.growth.toFixed(2),
  ]);
  const head = [
    'PSS in MiB',
    'first third',
    'last third',
    'median',
    'peak',
    'worker’s',
    'a child’s',
    'growth',
  ];
  console.log(table([head, ...rows]));
  for (const [name, run] of Object.entries(figures)) {
    console.log(`\n${names[name]}, worker and children over ${run.seconds.toFixed(0)} s`);
    console.log(sparkline(runs[name].samples.map(({ total }) => total)));
  }
  console.log(`\n${lines.join('\n')}`);
}

function summarise({ samples }) {
  const third = Math.floor(samples.length / 3);
  const totals = samples.map(({ total }) => total);
  const first = median(totals.slice(0, third));
  const last = median(totals.slice(-third));
  const peakOf = (of) => samples.reduce((most, sample) => Math.max(most, of(sample)), 0);
  return {
    seconds: samples.at(-1).seconds,
    first,
    last,
    growth: last / first,
    median: median(totals),
    peak: peakOf(({ total }) => total),
    workerPeak: peakOf(({ worker }) => worker),
    childPeak: peakOf(({ children }) => Math.max(0, ...children)),
    mostChildren: peakOf(({ children }) => children.length),
  };
}

function mebibytes(bytes) {
  return (bytes / mebibyte).toFixed(0);
}

/** Medians of 60 spans of time, from nothing to the highest. */
function sparkline(numbers) {
  const width = Math.min(60, numbers.length);
  const spans = Array.from({ length: width }, (_, n) =>
    median(
      numbers.slice(Math.floor((n * numbers.length) / width), Math.floor(((n + 1) * numbers.length) / width)),
    ),
  );
  const highest = Math.max(...spans);
  const bars = [...'▁▂▃▄▅▆▇█'];
  const line = spans.map((value) => bars[Math.round((value / highest) * (bars.length - 1))]).join('');
  return `${line}  0 to ${mebibytes(highest)} MiB`;
}
