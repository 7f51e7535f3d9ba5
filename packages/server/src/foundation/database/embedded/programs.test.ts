import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { copyPrograms, findPrograms, linkPrograms, type Programs } from './programs.js';

let folder: string;
let programs: Programs;

/** A package as npm installs it with --ignore-scripts: without its links. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mbk-programs-'));
  const installed = join(folder, 'package');
  mkdirSync(join(installed, 'native', 'lib'), { recursive: true });
  writeFileSync(join(installed, 'package.json'), JSON.stringify({ version: '18.9.0-test' }));
  writeFileSync(join(installed, 'native', 'lib', 'libink.so.5.2'), 'ink');
  const pairs = ['libink.so', 'libink.so.5'].map((name) => ({
    source: 'native/lib/libink.so.5.2',
    target: `native/lib/${name}`,
  }));
  writeFileSync(join(installed, 'native', 'pg-symlinks.json'), JSON.stringify(pairs));
  programs = { folder: installed, initdb: '', postgres: '', version: '18.9.0-test', major: 18 };
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('links that npm did not make are made, once', () => {
  expect(linkPrograms(programs, folder)).toBe(programs);
  expect(linkPrograms(programs, folder)).toBe(programs);
  expect(readlinkSync(join(programs.folder, 'native/lib/libink.so.5'))).toBe('libink.so.5.2');
});

test('a copy is whole, has its links, and is made once', () => {
  const copy = copyPrograms(programs, folder);
  const made = lstatSync(copy.folder).ino;
  expect(readdirSync(join(copy.folder, 'native/lib')).sort()).toEqual([
    'libink.so',
    'libink.so.5',
    'libink.so.5.2',
  ]);
  expect(copy.major).toBe(18);
  expect(lstatSync(copyPrograms(programs, folder).folder).ino).toBe(made);
  expect(readdirSync(folder).sort()).toEqual(['package', 'programs-18.9.0-test']);
});

test('the installed package is found and says which PostgreSQL it is', () => {
  expect(findPrograms().major).toBeGreaterThanOrEqual(18);
});
