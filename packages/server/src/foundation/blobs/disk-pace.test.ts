import { tmpdir } from 'node:os';

import { expect, it } from 'vitest';

import { paceOf, paceOn } from './disk-pace.js';

it('reads at once on a disk of this machine until three reads in a row are slow, and again after ten seconds', () => {
  let now = 0;
  const pace = paceOn(true, () => now);
  for (let n = 0; n < 1000; n++) pace.took(n % 100 === 0 ? 100 : 0.02);
  for (const ms of [9, 9]) pace.took(ms);
  expect(pace.atOnce()).toBe(true);
  pace.took(9);
  expect(pace.atOnce()).toBe(false);
  now = 9_999;
  expect(pace.atOnce()).toBe(false);
  now = 10_000;
  expect(pace.atOnce()).toBe(true);
});

it('never reads at once where a read may hang', () => {
  expect(paceOn(false, () => 0).atOnce()).toBe(false);
});

it.runIf(process.platform === 'linux')('judges a folder by its file system', async () => {
  // What people keep temporary files on is local; /proc is no disk.
  expect((await paceOf(tmpdir())).atOnce()).toBe(true);
  expect((await paceOf('/proc')).atOnce()).toBe(false);
});
