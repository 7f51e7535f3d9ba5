/**
 * CPU that four variants of a picture cost: our one render against four plain sharp pipelines at their defaults, each
 * in a warm process of its own with one thread. Rounds are interleaved; per picture the medians are compared.
 *
 *   node bench/imaging/run.mjs [folder] [--rounds 5] [--json]
 *
 * Without a folder, pictures are generated. Needs the built server (`npm run build`).
 */
import { fork } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, json: { type: 'boolean', default: false } },
});
const rounds = Number(values.rounds);
const ways = ['plain', 'ours'];

const scratch = await mkdtemp(join(tmpdir(), 'bench-imaging-'));
const workers = {};
try {
  const folder = positionals[0] ? resolve(positionals[0]) : await generate(scratch);
  const files = (await readdir(folder)).filter((name) => /\.(jpe?g|png|webp|gif|avif)$/i.test(name)).sort();
  if (files.length === 0) throw new Error(`no pictures in ${folder}`);
  for (const way of ways) workers[way] = start(way);

  const rows = [];
  for (const name of files) {
    const path = join(folder, name);
    const runs = { plain: [], ours: [] };
    // The first round warms caches of the file system and the encoders' tables, and is not counted.
    for (let round = 0; round <= rounds; round++) {
      for (const way of ways) {
        const run = await measure(workers[way], path);
        if (round > 0) runs[way].push(run);
      }
    }
    const cpu = Object.fromEntries(ways.map((way) => [way, median(runs[way].map((run) => run.cpuMs))]));
    rows.push({
      name,
      animated: runs.ours[0].frames > 1,
      plainMs: cpu.plain,
      oursMs: cpu.ours,
      ratio: cpu.ours / cpu.plain,
      bytesRatio: runs.ours[0].bytes / runs.plain[0].bytes,
    });
  }
  report(rows);
} finally {
  for (const worker of Object.values(workers)) worker.kill();
  await rm(scratch, { recursive: true });
}

function start(way) {
  const worker = fork(fileURLToPath(new URL('worker.mjs', import.meta.url)), [way], {
    // glibc's arenas as in our decoders, for both.
    env: { ...process.env, MALLOC_ARENA_MAX: '2' },
  });
  worker.on('exit', (code) => {
    if (code) process.exitCode = code;
  });
  return worker;
}

function measure(worker, path) {
  return new Promise((done, failed) => {
    worker.once('message', done);
    worker.once('exit', () => failed(new Error(`the worker ended at ${path}`)));
    worker.send(path);
  }).finally(() => worker.removeAllListeners('message').removeAllListeners('exit'));
}

function report(rows) {
  const stills = rows.filter((row) => !row.animated);
  const sum = (list, key) => list.reduce((total, row) => total + row[key], 0);
  const ratio = sum(stills, 'oursMs') / sum(stills, 'plainMs');
  if (values.json) {
    console.log(JSON.stringify({ rounds, ratio, pictures: rows }, undefined, 2));
    return;
  }
  console.log('CPU of four variants, four plain sharp pipelines at defaults = 1.00\n');
  for (const row of rows) {
    const cpu = `${row.plainMs.toFixed(0)} → ${row.oursMs.toFixed(0)} ms`;
    const notes = row.animated ? '  (animated: ours keeps the frames, plain shows the first)' : '';
    console.log(
      `${row.name.padEnd(32)} ${row.ratio.toFixed(2)}  ${cpu.padStart(18)}  bytes ${row.bytesRatio.toFixed(2)}${notes}`,
    );
  }
  if (stills.length > 0) console.log(`\nall stills together: ${ratio.toFixed(3)}`);
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Pictures like those of a camera and a screen, the same on every run. */
async function generate(folder) {
  const { default: sharp } = await import('sharp');
  for (const [name, width, height, format] of [
    ['photo-12mp.jpg', 4000, 3000, 'jpeg'],
    ['photo-6mp.webp', 3000, 2000, 'webp'],
    ['screen-2mp.png', 1080, 1920, 'png'],
  ]) {
    const data = Buffer.alloc(width * height * 3);
    let grain = 1;
    for (let i = 0, at = 0; i < width * height; i++) {
      const x = i % width;
      const y = (i - x) / width;
      grain = (Math.imul(grain, 1664525) + 1013904223) >>> 0;
      for (let c = 0; c < 3; c++) {
        data[at++] =
          118 + 60 * Math.sin((x * (c + 2)) / 190 + y / 420) + 50 * Math.sin(y / 33) + (grain >>> 28);
      }
    }
    const bytes = await sharp(data, { raw: { width, height, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    await writeFile(join(folder, name), bytes);
  }
  return folder;
}
