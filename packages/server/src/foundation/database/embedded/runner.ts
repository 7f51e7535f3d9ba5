import { spawn, spawnSync, type ChildProcess, type StdioOptions } from 'node:child_process';
import { chmodSync, lchownSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';

import { EmbeddedError, systemCode } from './embedded-error.js';

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/**
 * As whom PostgreSQL runs, for it refuses root. `self`: as we do. `user`: as another user, when we are root.
 * `namespace`: in a user namespace of its own (`unshare --user`), where it sees itself as nobody while its
 * files are root's; so it can live inside root's home folder of mode 0700.
 */
export type Runner =
  { readonly kind: 'self' } | { readonly kind: 'user'; readonly user: User } | { readonly kind: 'namespace' };

/** Nothing of our environment reaches PostgreSQL: a stray PGDATA or LC_ALL must not change what it does. */
const environment = {
  PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
  LC_ALL: 'C',
  TZ: 'UTC',
};

/** Starts a program as the runner, in a session of its own: a Ctrl-C at our terminal is not for it. */
export function run(
  runner: Runner,
  program: string,
  args: readonly string[],
  stdio: StdioOptions,
): ChildProcess {
  const [file, ...rest] =
    runner.kind === 'namespace' ? ['unshare', '--user', '--', program, ...args] : [program, ...args];
  return spawn(file, rest, {
    stdio,
    detached: true,
    // Ours may be closed to the other user, and initdb asks where it is.
    cwd: '/',
    env: environment,
    ...(runner.kind === 'user' ? { uid: runner.user.uid, gid: runner.user.gid } : {}),
  });
}

export interface RunnerQuestion {
  /** Existing folders and programs that PostgreSQL must get at. */
  readonly paths: readonly string[];
  /** A program to try a namespace with. */
  readonly postgres: string;
  /** Owner of the data folder when there is one already. */
  readonly owner?: number;
}

/**
 * Chooses a runner that gets at all the paths; undefined when we are root and there is none.
 * An existing data folder keeps its owner as long as that works.
 */
export function chooseRunner(question: RunnerQuestion, namespaces = namespaceWorks): Runner | undefined {
  if (process.getuid?.() !== 0) return chooseOrdinary(question, namespaces);
  if (question.owner === 0 && namespaces(question.postgres)) return { kind: 'namespace' };
  const users = [...(question.owner ? [userOf(question.owner)] : []), ...serviceUsers()];
  const user = users.find((candidate) => question.paths.every((path) => canReach(path, candidate)));
  if (user) return { kind: 'user', user };
  return namespaces(question.postgres) ? { kind: 'namespace' } : undefined;
}

/** initdb wants to know the name of its user; a container's bare `--user 12345` has none. */
function chooseOrdinary({ postgres }: RunnerQuestion, namespaces: (postgres: string) => boolean): Runner {
  try {
    userInfo();
    return { kind: 'self' };
  } catch (error) {
    if (namespaces(postgres)) return { kind: 'namespace' };
    throw new EmbeddedError(
      'no-user',
      `The user id ${process.getuid?.() ?? ''} has no name in /etc/passwd, which PostgreSQL needs. ` +
        'Run as a user that has one, or set DATABASE_URL.',
      error,
    );
  }
}

/** True when a program can be started in a user namespace; containers often forbid it. */
export function namespaceWorks(program: string): boolean {
  const tried = spawnSync('unshare', ['--user', '--', program, '--version'], {
    env: environment,
    cwd: '/',
    stdio: 'ignore',
  });
  return tried.status === 0;
}

/** Users that exist for such work, the best first. We never create one. */
export function serviceUsers(): User[] {
  const entries = readFileSync('/etc/passwd', 'utf8').split('\n');
  return ['postgres', 'nobody'].flatMap((name) => {
    const [, , uid, gid] = entries.find((line) => line.startsWith(`${name}:`))?.split(':') ?? [];
    return Number(uid) > 0 ? [{ uid: Number(uid), gid: Number(gid) }] : [];
  });
}

function userOf(uid: number): User {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.split(':')[2] === String(uid));
  return { uid, gid: Number(line?.split(':')[3] ?? uid) };
}

/** Whether mode bits let the user pass every folder down to `path` and enter or execute `path` itself. */
export function canReach(path: string, user: User): boolean {
  const real = realpathSync(path);
  const { mode, uid, gid } = statSync(real);
  const mask = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
  return (mode & mask) !== 0 && (dirname(real) === real || canReach(dirname(real), user));
}

/** The user whom files of the runner belong to; undefined: us, nothing to change. */
export function ownerOf(runner: Runner): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  return runner.kind === 'user' ? runner.user : { uid: 0, gid: 0 };
}

/** Hands a folder and all in it to the runner, when it is not its already. */
export function handOver(path: string, runner: Runner): void {
  const owner = ownerOf(runner);
  if (!owner || lstatSync(path).uid === owner.uid) return;
  const all = lstatSync(path).isDirectory() ? readdirSync(path, { recursive: true, encoding: 'utf8' }) : [];
  // The folder itself last: its owner is what tells the next start that all is done.
  for (const inner of all) lchownSync(join(path, inner), owner.uid, owner.gid);
  lchownSync(path, owner.uid, owner.gid);
}

/** Lets others pass through a folder of ours (mode x11), without letting them list it. */
export function letThrough(folder: string): void {
  const { mode } = statSync(folder);
  try {
    chmodSync(folder, (mode & 0o7777) | 0o011);
  } catch (error) {
    // Not ours to change; choosing a runner will show whether it matters.
    if (systemCode(error) !== 'EPERM' && systemCode(error) !== 'EROFS') throw error;
  }
}
