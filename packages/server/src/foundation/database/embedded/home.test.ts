import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { ask, embeddedScript, givenEmbedded, isRunning } from '../../../../test/embedded.js';
import { prepareHome } from './home.js';
import { copyPrograms, findPrograms } from './programs.js';
import { canReach, serviceUsers } from './runner.js';

const isRoot = process.getuid?.() === 0;
const given = await givenEmbedded();

describe('where it runs', () => {
  test('a path too long for a socket gets one in the temporary folder', async () => {
    const folder = given.newFolder('x'.repeat(120));
    given.copyInto(folder);
    const embedded = await given.start(folder);
    const socketFolder = new URL(embedded.url).searchParams.get('host')!;
    expect(dirname(socketFolder)).toBe(tmpdir());
    expect(statSync(socketFolder).mode & 0o777).toBe(0o700);
    expect(await ask(embedded.url, '1')).toBe(1);
    await embedded.stop();
    rmSync(socketFolder, { recursive: true });
  });

  test('a database of another major version is refused with a sentence', async () => {
    const folder = given.newFolder();
    mkdirSync(join(folder, 'data'), { recursive: true });
    writeFileSync(join(folder, 'data', 'PG_VERSION'), '17\n');
    await expect(given.start(folder)).rejects.toThrow(
      /is of PostgreSQL 17, and this MediaBlobKit brings PostgreSQL 18/,
    );
  });

  test('a data folder that holds something else is left alone', async () => {
    const folder = given.newFolder();
    mkdirSync(join(folder, 'data'), { recursive: true });
    writeFileSync(join(folder, 'data', 'letter.txt'), 'dear reader');
    await expect(given.start(folder)).rejects.toThrow(/not a database of ours/);
    expect(readdirSync(join(folder, 'data'))).toEqual(['letter.txt']);
  });

  test('a platform without programs is told to set DATABASE_URL', () => {
    expect(() => findPrograms('win32-x64')).toThrow(/Set DATABASE_URL/);
  });

  describe.runIf(isRoot)('as root', () => {
    const [user] = serviceUsers();

    test('inside a folder that only root can enter the files are root’s', async () => {
      const folder = given.made;
      const embedded = await given.start(folder);
      expect(statSync(join(folder, 'data')).uid).toBe(0);
      expect(await ask(embedded.url, '1')).toBe(1);
      await embedded.stop();
    });

    // Below a folder that only root can enter (a checkout in root's home) nobody else can start the programs.
    const reachable = user !== undefined && canReach(dirname(embeddedScript), user);

    test('in an open folder it runs as the owner of the data, who must get at the programs', async () => {
      const open = mkdtempSync(join(tmpdir(), 'mbk-embedded-open-'));
      chmodSync(open, 0o755);
      const folder = join(open, 'postgres');
      given.owned(folder);
      mkdirSync(folder);
      given.copyInto(folder);
      spawnSync('chown', ['-R', '65534:65534', join(folder, 'data')]);
      const embedded = await given.start(folder);
      expect(statSync(join(folder, 'data', 'postmaster.pid')).uid).toBe(reachable ? 65_534 : 0);
      expect(await ask(embedded.url, '1')).toBe(1);
      await embedded.stop();
    });

    test('without namespaces, in a folder below a closed one, the database moves out and is found again', () => {
      const folder = given.newFolder('deep');
      mkdirSync(folder, { recursive: true });
      const outside = mkdtempSync(join(tmpdir(), 'mbk-embedded-outside-'));
      chmodSync(outside, 0o755);
      const options = {
        folder,
        programs: findPrograms(),
        log: given.log,
        namespaces: () => false,
        elsewhere: outside,
      };
      const home = prepareHome(options);
      expect(dirname(home.folder)).toBe(outside);
      expect(home.runner).toEqual({ kind: 'user', user });
      expect(prepareHome({ ...options, elsewhere: '/nowhere' }).folder).toBe(home.folder);
      rmSync(outside, { recursive: true });
    });

    test('a database that moved out of reach of the programs finds those it took along', () => {
      const folder = given.newFolder('deeper');
      mkdirSync(folder, { recursive: true });
      const outside = mkdtempSync(join(tmpdir(), 'mbk-embedded-outside-'));
      chmodSync(outside, 0o755);
      const options = {
        folder,
        programs: copyPrograms(findPrograms(), given.newFolder('programs')),
        log: given.log,
        namespaces: () => false,
        elsewhere: outside,
      };
      const home = prepareHome(options);
      mkdirSync(home.data, { mode: 0o700 });
      chownSync(home.data, user!.uid, user!.gid);
      const again = prepareHome(options);
      expect([again.folder, again.runner]).toEqual([home.folder, { kind: 'user', user }]);
      expect(dirname(again.programs.folder)).toBe(outside);
      rmSync(outside, { recursive: true });
    });

    test.runIf(reachable)('an ordinary user makes and uses a database of its own', async () => {
      const open = mkdtempSync(join(tmpdir(), 'mbk-embedded-user-'));
      chownSync(open, user!.uid, user!.gid);
      const folder = join(open, 'postgres');
      given.owned(folder);
      const other = given.startInOtherProcess(folder, user);
      const { url, refused } = await other.answer;
      expect(refused).toBeUndefined();
      expect(statSync(join(folder, 'data')).uid).toBe(user!.uid);
      expect(await ask(url!, '1')).toBe(1);
      await other.leave();
      expect(isRunning(folder)).toBe(false);
    });

    test.runIf(reachable)('an ordinary user is told whose folder it is', async () => {
      const open = mkdtempSync(join(tmpdir(), 'mbk-embedded-root-'));
      chmodSync(open, 0o755);
      const folder = join(open, 'postgres');
      given.owned(folder);
      mkdirSync(folder);
      const { refused } = await given.startInOtherProcess(folder, user).answer;
      expect(refused).toContain(
        `belongs to user id 0, not to the user id this process runs as (${user!.uid})`,
      );
    });
  });
});
