/**
 * npm run bench:imaging — what four variants of a picture cost (thumbnail and medium in WebP, large in JPEG, card in
 * AVIF): CPU of our one render beside
 *
 *   plain   four plain sharp pipelines at their defaults
 *   tuned   four plain pipelines with our encoder settings
 *   ipx     IPX, four requests by its programmatic interface, at its defaults
 *   floor   one decode, and the encodes of ready pixels with our encoder settings
 *
 * each in a warm process of its own with one thread, in one interleaved run; per picture the medians are compared, and
 * summed over the stills. Then bytes of our stills beside plain ones of equal SSIM, and the price of a colour profile.
 *
 *   npm run bench:imaging -- [folder] [--rounds=5] [--json]
 *
 * Without a folder, pictures are generated. Ends with 1 when a goal is missed.
 */
import { fork, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { buildOrExit } from '../../scripts/build.mjs';
import { median, table, verdict } from '../machine.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, json: { type: 'boolean', default: false } },
});
const rounds = Number(values.rounds);
const say = values.json ? () => undefined : (text) => console.log(text);
const names = ['ours', 'plain', 'tuned', 'ipx', 'floor'];
/** Most that ours may cost of each way. */
const goals = { plain: 0.3, tuned: 0.6, ipx: 0.4, floor: 1.25 };
const mostBytes = 1.12;
const mostForProfile = 1.5;

const bench = fileURLToPath(new URL('..', import.meta.url));
if (!existsSync(join(bench, 'node_modules', 'ipx'))) {
  const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: bench, stdio: 'inherit' });
  if (installed.status !== 0) process.exit(installed.status ?? 1);
}
await buildOrExit();
const { generate, picturesIn, profileTwins } = await import('./pictures.mjs');
const { bytesAtEqualSsim } = await import('./bytes.mjs');

const scratch = await mkdtemp(join(tmpdir(), 'bench-imaging-'));
const workers = {};
try {
  const paths = positionals[0] ? await picturesIn(resolve(positionals[0])) : await generate(scratch);
  for (const name of names) workers[name] = start(name);
  const pictures = await measurePictures(paths);
  const stills = pictures.filter(({ frames }) => frames === 1);
  for (const still of stills) still.variants = await bytesAtEqualSsim(still.path);
  const profile = await measureProfiles(stills.map(({ path }) => path));
  report(pictures, stills, profile);
} finally {
  for (const worker of Object.values(workers)) worker.kill();
  await rm(scratch, { recursive: true });
}

function start(name) {
  return fork(fileURLToPath(new URL('worker.mjs', import.meta.url)), [name], {
    // glibc as in our decoders, for all.
    env: {
      ...process.env,
      MALLOC_ARENA_MAX: '2',
      MALLOC_MMAP_THRESHOLD_: '4194304',
      MALLOC_TRIM_THRESHOLD_: '4194304',
    },
  });
}

async function measurePictures(paths) {
  const pictures = [];
  for (const path of paths) {
    const runs = Object.fromEntries(names.map((name) => [name, []]));
    const made = {};
    // The first round warms caches of the file system and the encoders' tables, and is not counted.
    for (let round = 0; round <= rounds; round++) {
      for (let turn = 0; turn < names.length; turn++) {
        // Another order in every round, so that nobody always runs after the same one.
        const name = names[(turn + round) % names.length];
        const run = await measure(workers[name], path);
        if (round > 0) runs[name].push(run.cpuMs);
        else made[name] = run.pictures;
      }
    }
    pictures.push({
      path,
      frames: made.ours.medium.frames,
      cpu: Object.fromEntries(names.map((name) => [name, median(runs[name])])),
      others: names.filter((name) => isSmaller(made[name], made.ours)),
    });
    say(`  ${basename(path)}`);
  }
  return pictures;
}

/** True for a way that made less than ours: IPX mistakes the sides of a photo that the camera turned. */
function isSmaller(theirs, ours) {
  return Object.entries(ours).some(
    ([name, { width, height }]) => theirs[name].width * theirs[name].height < 0.98 * width * height,
  );
}

/** CPU of ours for photos in Display P3, and for the same bytes without the profile. */
async function measureProfiles(paths) {
  const twins = await profileTwins(paths, join(scratch, 'profiles'));
  const cpu = { with: 0, without: 0 };
  for (const twin of twins) {
    const runs = { with: [], without: [] };
    for (let round = 0; round <= rounds; round++) {
      for (const kind of round % 2 === 0 ? ['with', 'without'] : ['without', 'with']) {
        const { cpuMs } = await measure(workers.ours, twin[kind]);
        if (round > 0) runs[kind].push(cpuMs);
      }
    }
    cpu.with += median(runs.with);
    cpu.without += median(runs.without);
  }
  return { photos: twins.length, ...cpu, ratio: cpu.with / cpu.without };
}

function measure(worker, path) {
  return new Promise((done, failed) => {
    worker.once('message', done);
    worker.once('exit', () => failed(new Error(`a worker ended at ${path}`)));
    worker.send(path);
  }).finally(() => worker.removeAllListeners('message').removeAllListeners('exit'));
}

function report(pictures, stills, profile) {
  const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);
  const ratio = (list, name) => {
    const comparable = list.filter(({ others }) => !others.includes(name));
    return sum(comparable, ({ cpu }) => cpu.ours) / sum(comparable, ({ cpu }) => cpu[name]);
  };
  const bytes = bytesByVariant(stills);
  const lines = [];
  const missed = [];
  const judge = (goal, value, limit) => {
    if (!(value <= limit)) missed.push(goal);
    lines.push(verdict(`${goal} ≤ ${limit}`, value.toFixed(3), value <= limit));
  };
  for (const [name, limit] of Object.entries(goals)) judge(`CPU ÷ ${name}`, ratio(stills, name), limit);
  for (const [name, value] of Object.entries(bytes)) judge(`bytes at equal SSIM, ${name}`, value, mostBytes);
  if (profile.photos > 0) judge('CPU with a profile ÷ without', profile.ratio, mostForProfile);
  process.exitCode = missed.length > 0 ? 1 : 0;

  if (values.json) {
    const ratios = Object.fromEntries(Object.keys(goals).map((name) => [name, ratio(stills, name)]));
    const rows = pictures.map(({ path, cpu, variants }) => ({ name: basename(path), cpu, variants }));
    console.log(JSON.stringify({ rounds, ratios, bytes, profile, missed, pictures: rows }, undefined, 2));
    return;
  }
  const row = (label, list) => [
    label,
    ...names.map((name) => `${sum(list, ({ cpu }) => cpu[name]).toFixed(0)} ms`),
    ...Object.keys(goals).map((name) => {
      const value = ratio(list, name);
      return Number.isNaN(value) ? '–' : value.toFixed(3);
    }),
  ];
  const head = ['', ...names, ...Object.keys(goals).map((name) => `÷ ${name}`)];
  say(`\nCPU, medians of ${rounds} interleaved rounds`);
  say(
    table([
      head,
      ...pictures.map((picture) =>
        row(basename(picture.path) + (picture.frames > 1 ? ' (animated)' : ''), [picture]),
      ),
      row('all stills', stills),
    ]),
  );
  if (stills.some(({ others }) => others.length > 0)) say('–: that way made smaller pictures; not compared');
  if (stills.length < pictures.length) say('of animations ours keeps the frames, the others show the first');
  say('\nbytes ÷ plain at equal SSIM (SSIM of ours)');
  say(
    table([
      ['', ...Object.keys(bytes)],
      ...stills.map(({ path, variants }) => [
        basename(path),
        ...Object.values(variants).map(
          ({ ours, plain, ssim }) => `${(ours / plain).toFixed(2)} (${ssim.toFixed(4)})`,
        ),
      ]),
    ]),
  );
  say(`\n${lines.join('\n')}`);
}

/** The geometric mean over the pictures: a sum would be that of the largest ones. */
function bytesByVariant(stills) {
  const result = {};
  for (const name of Object.keys(stills[0]?.variants ?? {})) {
    const logs = stills.map(({ variants }) => Math.log(variants[name].ours / variants[name].plain));
    result[name] = Math.exp(logs.reduce((sum, log) => sum + log, 0) / logs.length);
  }
  return result;
}
