import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import type { Log } from '../../log.js';
import { EmbeddedError, notOurs } from './embedded-error.js';
import { copyPrograms, linkPrograms, type Programs } from './programs.js';
import {
  canReach,
  chooseRunner,
  handOver,
  letThrough,
  namespaceWorks,
  serviceUsers,
  type Runner,
} from './runner.js';

/** Where the embedded database lives and who runs it. */
export interface Home {
  /** Holds `data`, `log`, `lock` and usually `socket`. */
  readonly folder: string;
  readonly data: string;
  readonly socketFolder: string;
  readonly logFile: string;
  readonly programs: Programs;
  readonly runner: Runner;
}

/** sun_path holds 108 bytes with its NUL on Linux, 104 on macOS and the BSDs. */
const longestSocketPath = process.platform === 'linux' ? 107 : 103;
const socketName = '.s.PGSQL.5432';

/** Left in the data folder when root's database had to move out of it. */
const pointer = 'moved-to';
const elsewhere = '/var/lib/mediablobkit';

export interface HomeOptions {
  readonly folder: string;
  readonly programs: Programs;
  readonly log: Log;
  /** Tells whether user namespaces may be used. */
  readonly namespaces?: (program: string) => boolean;
  /** Parent of what root keeps outside a folder that no other user can enter. */
  readonly elsewhere?: string;
}

/** Makes the folder when it is not there. @throws EmbeddedError when it is somebody else's. */
export function claimFolder(folder: string): string {
  mkdirSync(dirname(folder), { recursive: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { uid } = statSync(folder);
  const me = process.getuid?.();
  if (me !== undefined && me !== 0 && uid !== me) throw notOurs(folder, undefined, uid);
  return realpathSync(folder);
}

/** Decides where and as whom the database runs, and prepares the folders. Under the start lock. */
export function prepareHome(options: HomeOptions): Home {
  const moved = movedTo(options.folder);
  const folder = moved ?? options.folder;
  const namespaces = options.namespaces ?? namespaceWorks;
  const root = process.getuid?.() === 0;
  const linked = linkPrograms(options.programs, options.folder);
  // What moved out took the programs along when only root could enter theirs.
  const programs = root && moved !== undefined ? programsBeside(moved, linked) : linked;
  // Others may pass through our own folder to `data` and `socket`, which stay 0700. The folder above is opened
  // only when there is no namespace to live in.
  if (root) letThrough(folder);
  const question = {
    paths: [folder, programs.postgres, programs.initdb, join(programs.folder, 'native', 'lib')],
    postgres: programs.postgres,
    ...ownerOfData(folder),
  };
  let runner = chooseRunner(question, namespaces);
  if (!runner) {
    letThrough(dirname(folder));
    runner = chooseRunner(question, namespaces);
  }
  if (runner) return furnish(folder, programs, runner);
  return moveOut(options, folder, programs);
}

/** Root, in a container that forbids namespaces, in a folder that only root can enter. */
function moveOut(options: HomeOptions, folder: string, programs: Programs): Home {
  const parent = options.elsewhere ?? elsewhere;
  const own = join(parent, digest(folder));
  const [user] = serviceUsers();
  if (!user || existsSync(join(folder, 'data'))) {
    throw new EmbeddedError(
      'not-ours',
      `PostgreSQL does not run as root, and ${user ? 'no other user can enter' : 'there is no other user for'} ${folder}. ` +
        'Move the data folder out of it, run as an ordinary user, or set DATABASE_URL.',
    );
  }
  mkdirSync(own, { recursive: true, mode: 0o711 });
  letThrough(parent);
  letThrough(own);
  const home = furnish(own, programsBeside(own, programs), { kind: 'user', user });
  writeFileSync(join(options.folder, pointer), `${own}\n`);
  options.log.warn(
    { folder, database: own },
    'only root can enter the data folder, so the database lives elsewhere',
  );
  return home;
}

/** The programs; a copy beside a database that lives outside, when the user who runs it cannot get at them. */
function programsBeside(own: string, programs: Programs): Programs {
  const [user] = serviceUsers();
  const reachable = user && [programs.postgres, programs.initdb].every((path) => canReach(path, user));
  return reachable ? programs : copyPrograms(programs, dirname(own));
}

function movedTo(folder: string): string | undefined {
  const path = join(folder, pointer);
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
}

function ownerOfData(folder: string): { owner?: number } {
  const found = lstatSync(join(folder, 'data'), { throwIfNoEntry: false });
  return found ? { owner: found.uid } : {};
}

function furnish(folder: string, programs: Programs, runner: Runner): Home {
  const data = join(folder, 'data');
  if (existsSync(data)) handOver(data, runner);
  return {
    folder,
    data,
    socketFolder: makeSocketFolder(folder, runner),
    logFile: join(folder, 'log'),
    programs,
    runner,
  };
}

/** `socket` in the folder; when that path is too long for a socket, a folder of ours in the temporary one. */
function makeSocketFolder(folder: string, runner: Runner): string {
  const near = join(folder, 'socket');
  const fits = Buffer.byteLength(join(near, socketName)) <= longestSocketPath;
  const path = fits ? near : join(tmpdir(), `mediablobkit-${digest(folder)}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const found = lstatSync(path);
  const known = [process.getuid?.() ?? 0, ...(runner.kind === 'user' ? [runner.user.uid] : [])];
  // Anybody can make a folder in the temporary one first, to stand between us and the database.
  if (!found.isDirectory() || !known.includes(found.uid)) throw notOurs(path, undefined, found.uid);
  chmodSync(path, 0o700);
  handOver(path, runner);
  return path;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
