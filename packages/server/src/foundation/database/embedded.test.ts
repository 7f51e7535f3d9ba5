import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { createLog, type Log } from '../log.js';
import { startEmbedded, type Embedded } from './embedded.js';
import { prepareHome } from './embedded/home.js';
import { findPostmaster } from './embedded/postmaster.js';
import { findPrograms } from './embedded/programs.js';
import { canReach, serviceUsers } from './embedded/runner.js';
import { stopServer } from './embedded/server.js';

const isRoot = process.getuid?.() === 0;
const script = fileURLToPath(new URL('../../../test/embedded-process.ts', import.meta.url));
const tsx = import.meta.resolve('tsx');

let root: string;
/** A database that was made and stopped. Tests that leave it as it was use it in turn; others copy it. */
let made: string;
let firstStartMs: number;
let log: Log;

const children: ChildProcess[] = [];
const folders: string[] = [];

beforeAll(async () => {
  log = await createLog({ level: 'silent', pretty: false });
  // Mode 0700, as root's home folder.
  root = mkdtempSync(join(tmpdir(), 'mbk-embedded-'));
  made = join(root, 'made', 'postgres');
  const before = performance.now();
  const embedded = await startEmbedded({ folder: made, log });
  firstStartMs = performance.now() - before;
  await embedded.stop();
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  await stopServer(join(made, 'data'), log);
  for (const folder of folders.splice(0)) {
    await stopServer(join(folder, 'data'), log);
    rmSync(dirname(folder), { recursive: true, force: true });
  }
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

function emptyFolder(): string {
  const folder = join(mkdtempSync(join(root, 'case-')), 'postgres');
  folders.push(folder);
  return folder;
}

function copyOfDatabase(from = made): string {
  const folder = emptyFolder();
  cpSync(join(from, 'data'), join(folder, 'data'), { recursive: true });
  return folder;
}

function start(folder: string): Promise<Embedded> {
  // What a power cut would do to it does not matter here.
  return startEmbedded({ folder, log, settings: { fsync: 'off' } });
}

interface Answer {
  readonly url?: string;
  readonly adopted?: boolean;
  readonly refused?: string;
}

interface OtherProcess {
  readonly child: ChildProcess;
  readonly answer: Promise<Answer>;
  leave(): Promise<void>;
}

function startInOtherProcess(folder: string, user: { uid?: number; gid?: number } = {}): OtherProcess {
  const child = spawn(process.execPath, ['--import', tsx, script, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: '/',
    ...user,
  });
  children.push(child);
  return {
    child,
    answer: once(createInterface(child.stdout), 'line').then(([line]) => JSON.parse(String(line)) as Answer),
    async leave() {
      const exited = once(child, 'exit');
      child.stdin.end();
      expect(await exited).toEqual([0, null]);
    },
  };
}

async function ask(url: string, question: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ answer: unknown }>(`SELECT (${question}) AS answer`);
    return rows[0]?.answer;
  } finally {
    await client.end();
  }
}

/** Session of a process: a Ctrl-C reaches the whole foreground group of one session (proc(5), field 6). */
function sessionOf(pid: number): string | undefined {
  return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[3];
}

function isRunning(folder: string): boolean {
  return findPostmaster(join(folder, 'data')) !== undefined;
}

describe('one process', () => {
  test('the first start takes less than ten seconds and leaves nothing unfinished', () => {
    expect(firstStartMs).toBeLessThan(10_000);
    expect(readdirSync(made).sort()).toEqual(['data', 'lock', 'log', 'socket']);
    expect(isRunning(made)).toBe(false);
  });

  test('a later start is quick, listens on a closed socket only and ends with stop', async () => {
    const folder = made;
    const before = performance.now();
    const embedded = await start(folder);
    expect(performance.now() - before).toBeLessThan(3_000);
    expect(embedded.adopted).toBe(false);
    expect(await ask(embedded.url, "current_setting('listen_addresses')")).toBe('');
    expect(await ask(embedded.url, "current_database() || ' ' || current_user")).toBe(
      'mediablobkit mediablobkit',
    );
    expect(statSync(join(folder, 'socket')).mode & 0o777).toBe(0o700);
    if (process.platform === 'linux')
      expect(sessionOf(findPostmaster(join(folder, 'data'))!.pid)).not.toBe(sessionOf(process.pid));
    await embedded.stop();
    expect(isRunning(folder)).toBe(false);
  });

  test('the last to leave stops the server, not the first', async () => {
    const folder = made;
    const first = await start(folder);
    const second = await start(folder);
    expect([first.adopted, second.adopted]).toEqual([false, true]);
    expect(second.url).toBe(first.url);
    await first.stop();
    expect(await ask(second.url, '1')).toBe(1);
    await second.stop();
    expect(isRunning(folder)).toBe(false);
  });

  test('a server that is killed while in use comes back', async () => {
    const folder = made;
    const embedded = await start(folder);
    const killed = findPostmaster(join(folder, 'data'))!.pid;
    process.kill(killed, 'SIGKILL');
    await expect
      .poll(() => ask(embedded.url, 'pg_postmaster_start_time() IS NOT NULL').catch(() => false), {
        timeout: 10_000,
      })
      .toBe(true);
    expect(findPostmaster(join(folder, 'data'))?.pid).not.toBe(killed);
    await embedded.stop();
    expect(isRunning(folder)).toBe(false);
  });
});

describe('several processes', () => {
  test('of three first starts at once one makes the database and the others join', async () => {
    const folder = emptyFolder();
    const others = [1, 2, 3].map(() => startInOtherProcess(folder));
    const answers = await Promise.all(others.map(({ answer }) => answer));
    expect(answers.map(({ adopted }) => adopted).sort()).toEqual([false, true, true]);
    expect(new Set(answers.map(({ url }) => url)).size).toBe(1);
    await Promise.all(others.map((other) => other.leave()));
    expect(isRunning(folder)).toBe(false);
  });

  test('after a kill −9 of its starter the running server is adopted', async () => {
    const folder = made;
    const other = startInOtherProcess(folder);
    const { url } = await other.answer;
    const pid = findPostmaster(join(folder, 'data'))?.pid;
    other.child.kill('SIGKILL');
    await once(other.child, 'exit');
    const embedded = await start(folder);
    expect(embedded).toMatchObject({ adopted: true, url });
    expect(findPostmaster(join(folder, 'data'))?.pid).toBe(pid);
    await embedded.stop();
    expect(isRunning(folder)).toBe(false);
  });

  test('a kill −9 in the middle of the first start leaves nothing that hinders the next', async () => {
    const folder = emptyFolder();
    const other = startInOtherProcess(folder);
    await expect
      .poll(() => existsSync(folder) && readdirSync(folder).some((name) => name.startsWith('unfinished-')), {
        timeout: 10_000,
        interval: 5,
      })
      .toBe(true);
    other.child.kill('SIGKILL');
    await once(other.child, 'exit');
    expect(existsSync(join(folder, 'data'))).toBe(false);
    const embedded = await start(folder);
    expect(embedded.adopted).toBe(false);
    expect(readdirSync(folder).filter((name) => name.startsWith('unfinished-'))).toEqual([]);
    await embedded.stop();
  });
});

describe('pid files that lie', () => {
  const lines = (pid: number, folder: string): string =>
    [pid, join(folder, 'data'), 1, 5432, join(folder, 'socket'), '', '  1 1', 'ready   ', ''].join('\n');

  test.each([
    ['of a process that is no postgres', () => process.pid],
    ['of nobody', () => 2 ** 22 + 1],
    ['negative, as initdb writes it', () => -process.pid],
  ])('%s is removed, and its process left alone', async (_name, pid) => {
    const folder = made;
    writeFileSync(join(folder, 'data', 'postmaster.pid'), lines(pid(), folder));
    const embedded = await start(folder);
    expect(embedded.adopted).toBe(false);
    await embedded.stop();
  });

  test.runIf(process.platform === 'linux')('of a zombie is removed', async () => {
    const folder = made;
    // The shell becomes sleep, which never waits for its child.
    const parent = spawn('/bin/sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    children.push(parent);
    const [line] = (await once(createInterface(parent.stdout), 'line')) as [string];
    await expect.poll(() => readFileSync(`/proc/${line}/stat`, 'utf8')).toContain(') Z ');
    writeFileSync(join(folder, 'data', 'postmaster.pid'), lines(Number(line), folder));
    const embedded = await start(folder);
    expect(embedded.adopted).toBe(false);
    await embedded.stop();
  });

  test('of a running server, copied with its folder, does not lead to that server', async () => {
    const original = made;
    const first = await start(original);
    await ask(first.url, "(SELECT 'CHECKPOINT')");
    const copy = copyOfDatabase(original);
    const second = await start(copy);
    expect(second.adopted).toBe(false);
    expect(second.url).not.toBe(first.url);
    await Promise.all([first.stop(), second.stop()]);
  });
});

describe('where it runs', () => {
  test('a path too long for a socket gets one in the temporary folder', async () => {
    const folder = join(mkdtempSync(join(root, 'case-')), 'x'.repeat(120), 'postgres');
    folders.push(folder);
    cpSync(join(made, 'data'), join(folder, 'data'), { recursive: true });
    const embedded = await start(folder);
    const socketFolder = new URL(embedded.url).searchParams.get('host')!;
    expect(dirname(socketFolder)).toBe(tmpdir());
    expect(statSync(socketFolder).mode & 0o777).toBe(0o700);
    expect(await ask(embedded.url, '1')).toBe(1);
    await embedded.stop();
    rmSync(socketFolder, { recursive: true });
  });

  test('a database of another major version is refused with a sentence', async () => {
    const folder = emptyFolder();
    mkdirSync(join(folder, 'data'), { recursive: true });
    writeFileSync(join(folder, 'data', 'PG_VERSION'), '17\n');
    await expect(start(folder)).rejects.toThrow(
      /is of PostgreSQL 17, and this MediaBlobKit brings PostgreSQL 18/,
    );
  });

  test('a data folder that holds something else is left alone', async () => {
    const folder = emptyFolder();
    mkdirSync(join(folder, 'data'), { recursive: true });
    writeFileSync(join(folder, 'data', 'letter.txt'), 'dear reader');
    await expect(start(folder)).rejects.toThrow(/not a database of ours/);
    expect(readdirSync(join(folder, 'data'))).toEqual(['letter.txt']);
  });

  test('a platform without programs is told to set DATABASE_URL', () => {
    expect(() => findPrograms('win32-x64')).toThrow(/Set DATABASE_URL/);
  });

  describe.runIf(isRoot)('as root', () => {
    const [user] = serviceUsers();

    test('inside a folder that only root can enter the files are root’s', async () => {
      const folder = made;
      const embedded = await start(folder);
      expect(statSync(join(folder, 'data')).uid).toBe(0);
      expect(await ask(embedded.url, '1')).toBe(1);
      await embedded.stop();
    });

    test('in an open folder it runs as the owner of the data', async () => {
      const open = mkdtempSync(join(tmpdir(), 'mbk-embedded-open-'));
      chmodSync(open, 0o755);
      const folder = join(open, 'postgres');
      folders.push(folder);
      mkdirSync(folder);
      cpSync(join(made, 'data'), join(folder, 'data'), { recursive: true });
      spawnSync('chown', ['-R', '65534:65534', join(folder, 'data')]);
      const embedded = await start(folder);
      expect(statSync(join(folder, 'data', 'postmaster.pid')).uid).toBe(65_534);
      expect(await ask(embedded.url, '1')).toBe(1);
      await embedded.stop();
    });

    test('without namespaces, in a folder below a closed one, the database moves out and is found again', () => {
      const folder = join(mkdtempSync(join(root, 'case-')), 'deep', 'postgres');
      mkdirSync(folder, { recursive: true });
      const outside = mkdtempSync(join(tmpdir(), 'mbk-embedded-outside-'));
      chmodSync(outside, 0o755);
      const options = { folder, programs: findPrograms(), log, namespaces: () => false, elsewhere: outside };
      const home = prepareHome(options);
      expect(dirname(home.folder)).toBe(outside);
      expect(home.runner).toEqual({ kind: 'user', user });
      expect(prepareHome({ ...options, elsewhere: '/nowhere' }).folder).toBe(home.folder);
      rmSync(outside, { recursive: true });
    });

    const reachable = user !== undefined && canReach(dirname(script), user);

    test.runIf(reachable)('an ordinary user makes and uses a database of its own', async () => {
      const open = mkdtempSync(join(tmpdir(), 'mbk-embedded-user-'));
      chownSync(open, user!.uid, user!.gid);
      const folder = join(open, 'postgres');
      folders.push(folder);
      const other = startInOtherProcess(folder, user);
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
      folders.push(folder);
      mkdirSync(folder);
      const { refused } = await startInOtherProcess(folder, user).answer;
      expect(refused).toContain(
        `belongs to user id 0, not to the user id this process runs as (${user!.uid})`,
      );
    });
  });
});
