import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, expect, test } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

interface Report {
  readonly summary: {
    readonly violations: readonly {
      readonly from: string;
      readonly to: string;
      readonly rule: { readonly name: string; readonly severity: string };
    }[];
  };
}

/** A small house in which every wall is broken once, and each of its files with what it imports. */
const house: Readonly<Record<string, readonly string[]>> = {
  // Sound, and the way to everything: what nobody reaches would be "unused".
  'main.ts': ['./web.js', './config.js', './features/uploads/uploads.js'],
  'web.ts': ['./kit.js'],
  'kit.ts': ['./config.js', './features/delivery/delivery.js', './foundation/queue/run.js', './shed/tool.js'],
  'features/uploads/uploads.ts': [
    '../delivery/delivery.js',
    '../../foundation/queue/run.js',
    '../access/guard.js',
  ],
  'foundation/queue/run.ts': [
    '../database/connect.js',
    '../clock.js',
    'declared',
    'for-development',
    'undeclared',
  ],
  'config/table.ts': [],
  'foundation/clock.ts': [],
  'features/access/guard.test.ts': [
    '../uploads/uploads.js',
    '../../main.js',
    '../../../test/harness.js',
    'for-development',
  ],

  // Upwards, by one floor and by many, from every kind of room.
  'features/delivery/delivery.ts': ['../uploads/uploads.js'],
  'features/access/guard.ts': [
    '../accounts/queries.js',
    './guard.test.js',
    '../../../test/harness.js',
    '../../config.js',
  ],
  'features/accounts/queries.ts': ['../../kit.js'],
  'foundation/database/connect.ts': ['../queue/run.js', '../blobs/disk.js', '../nowhere.js'],
  'foundation/blobs/disk.ts': ['../../features/access/guard.js', '../ids.js'],
  'foundation/ids.ts': ['./database/connect.js', './utils.js'],
  'foundation/utils.ts': [],
  'config.ts': ['./config/table.js', './main.js'],

  'shed/tool.ts': [],
  'features/files/forgotten.ts': [],
};

let folder: string;
let broken: readonly string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mbk-floors-'));
  const server = join(folder, 'packages', 'server');
  for (const [path, imports] of Object.entries(house))
    await put(join(server, 'src', path), imports.map((name) => `import '${name}';`).join('\n'));
  await put(join(server, 'test', 'harness.ts'), '');
  await put(
    join(server, 'package.json'),
    JSON.stringify({ dependencies: { declared: '1.0.0' }, devDependencies: { 'for-development': '1.0.0' } }),
  );
  for (const name of ['declared', 'for-development', 'undeclared']) {
    await put(join(folder, 'node_modules', name, 'package.json'), JSON.stringify({ name, main: 'index.js' }));
    await put(join(folder, 'node_modules', name, 'index.js'), '');
  }
  broken = (await cruise(folder)).map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`).toSorted();
}, 60_000);

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function put(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

/** What the house's own rules say of the sources below a folder; paths are cut to what differs. */
async function cruise(cwd: string): Promise<Report['summary']['violations']> {
  const command = join(root, 'node_modules', 'dependency-cruiser', 'bin', 'dependency-cruise.mjs');
  const options = [
    '--config',
    join(root, '.dependency-cruiser.mjs'),
    '--output-type',
    'json',
    'packages/server/src',
  ];
  const output = await new Promise<string>((resolve, reject) => {
    execFile(
      process.execPath,
      [command, ...options],
      { cwd, maxBuffer: 64 * 1024 ** 2 },
      (error, stdout, stderr) => {
        // Its exit code is the number of violations, or 0 with a report of them; without a report it failed.
        if (stdout.startsWith('{')) resolve(stdout);
        else reject(new Error(stderr, { cause: error }));
      },
    );
  });
  const short = (path: string): string => path.replace(/^packages\/server\/(src\/)?/, '');
  return (JSON.parse(output) as Report).summary.violations.map(({ rule, from, to }) => ({
    rule,
    from: short(from),
    to: short(to),
  }));
}

test('every wall that is broken is reported, and nothing else', () => {
  expect(broken.filter((line) => !line.startsWith('no-circular'))).toEqual(
    [
      'no-development-packages: foundation/queue/run.ts → node_modules/for-development/index.js',
      'no-development-packages: foundation/queue/run.ts → node_modules/undeclared/index.js',
      'named-for-nothing: foundation/ids.ts → foundation/utils.ts',
      'not-resolved: foundation/database/connect.ts → ../nowhere.js',
      'on-no-floor: kit.ts → shed/tool.ts',
      'settings-only-for-the-hall: features/access/guard.ts → config.ts',
      'sideways-from-foundation-database: foundation/database/connect.ts → foundation/blobs/disk.ts',
      'tests-are-not-imported: features/access/guard.ts → features/access/guard.test.ts',
      'tests-are-not-imported: features/access/guard.ts → test/harness.ts',
      'unused: features/files/forgotten.ts → features/files/forgotten.ts',
      'upwards-from-config: config.ts → main.ts',
      'upwards-from-features-access: features/access/guard.ts → features/accounts/queries.ts',
      'upwards-from-features-accounts: features/accounts/queries.ts → kit.ts',
      'upwards-from-features-delivery: features/delivery/delivery.ts → features/uploads/uploads.ts',
      'upwards-from-foundation-blobs: foundation/blobs/disk.ts → features/access/guard.ts',
      'upwards-from-foundation-database: foundation/database/connect.ts → foundation/queue/run.ts',
      'upwards-from-foundation-version: foundation/ids.ts → foundation/database/connect.ts',
    ].toSorted(),
  );
});

test('circles are reported', () => {
  expect(broken.filter((line) => line.startsWith('no-circular'))).toContain(
    'no-circular: features/delivery/delivery.ts → features/uploads/uploads.ts',
  );
});
