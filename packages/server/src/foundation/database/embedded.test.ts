import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { describe, expect, test } from 'vitest';

import { ask, givenEmbedded, isRunning } from '../../../test/embedded.js';
import { findPostmaster } from './embedded/postmaster.js';

const given = await givenEmbedded();

/** Session of a process: a Ctrl-C reaches the whole foreground group of one session (proc(5), field 6). */
function sessionOf(pid: number): string | undefined {
  return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[3];
}

describe('one process', () => {
  test('the first start takes less than ten seconds and leaves nothing unfinished', () => {
    expect(given.facts.firstStartMs).toBeLessThan(10_000);
    expect(readdirSync(given.made).sort()).toEqual(['data', 'lock', 'log', 'socket']);
    expect(isRunning(given.made)).toBe(false);
  });

  test('a later start is quick, listens on a closed socket only and ends with stop', async () => {
    const folder = given.made;
    const before = performance.now();
    const embedded = await given.start(folder);
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
    const folder = given.made;
    const first = await given.start(folder);
    const second = await given.start(folder);
    expect([first.adopted, second.adopted]).toEqual([false, true]);
    expect(second.url).toBe(first.url);
    await first.stop();
    expect(await ask(second.url, '1')).toBe(1);
    await second.stop();
    expect(isRunning(folder)).toBe(false);
  });

  test('a server that is killed while in use comes back', async () => {
    const folder = given.made;
    const embedded = await given.start(folder);
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
    const folder = given.newFolder();
    const others = [1, 2, 3].map(() => given.startInOtherProcess(folder));
    const answers = await Promise.all(others.map(({ answer }) => answer));
    expect(answers.map(({ adopted }) => adopted).sort()).toEqual([false, true, true]);
    expect(new Set(answers.map(({ url }) => url)).size).toBe(1);
    await Promise.all(others.map((other) => other.leave()));
    expect(isRunning(folder)).toBe(false);
  });

  test('after a kill −9 of its starter the running server is adopted', async () => {
    const folder = given.made;
    const other = given.startInOtherProcess(folder);
    const { url } = await other.answer;
    const pid = findPostmaster(join(folder, 'data'))?.pid;
    other.child.kill('SIGKILL');
    await once(other.child, 'exit');
    const embedded = await given.start(folder);
    expect(embedded).toMatchObject({ adopted: true, url });
    expect(findPostmaster(join(folder, 'data'))?.pid).toBe(pid);
    await embedded.stop();
    expect(isRunning(folder)).toBe(false);
  });

  test('a kill −9 in the middle of the first start leaves nothing that hinders the next', async () => {
    const folder = given.newFolder();
    const other = given.startInOtherProcess(folder);
    await expect
      .poll(() => existsSync(folder) && readdirSync(folder).some((name) => name.startsWith('unfinished-')), {
        timeout: 10_000,
        interval: 5,
      })
      .toBe(true);
    other.child.kill('SIGKILL');
    await once(other.child, 'exit');
    expect(existsSync(join(folder, 'data'))).toBe(false);
    const embedded = await given.start(folder);
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
    const folder = given.made;
    writeFileSync(join(folder, 'data', 'postmaster.pid'), lines(pid(), folder));
    const embedded = await given.start(folder);
    expect(embedded.adopted).toBe(false);
    await embedded.stop();
  });

  test.runIf(process.platform === 'linux')('of a zombie is removed', async () => {
    const folder = given.made;
    // The shell becomes sleep, which never waits for its child.
    const parent = spawn('/bin/sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    given.children.push(parent);
    const [line] = (await once(createInterface(parent.stdout), 'line')) as [string];
    await expect.poll(() => readFileSync(`/proc/${line}/stat`, 'utf8')).toContain(') Z ');
    writeFileSync(join(folder, 'data', 'postmaster.pid'), lines(Number(line), folder));
    const embedded = await given.start(folder);
    expect(embedded.adopted).toBe(false);
    await embedded.stop();
  });

  test('of a running server, copied with its folder, does not lead to that server', async () => {
    const original = given.made;
    const first = await given.start(original);
    await ask(first.url, "(SELECT 'CHECKPOINT')");
    const copy = given.copyInto(given.newFolder());
    const second = await given.start(copy);
    expect(second.adopted).toBe(false);
    expect(second.url).not.toBe(first.url);
    await Promise.all([first.stop(), second.stop()]);
  });
});
