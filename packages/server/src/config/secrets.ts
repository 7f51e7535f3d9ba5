import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { weakness } from './strength.js';

/** What the embedded default signs with when the environment gives nothing. Used as the bytes of the text. */
export interface Secrets {
  readonly jwtSecret: string;
  readonly linkSecret: string;
}

/** The secrets in the data folder cannot be used; the message is a sentence for a person. */
export class SecretsError extends Error {
  override readonly name = 'SecretsError';
}

/**
 * Reads the secrets of the embedded default, making them the first time: one file each
 * (`secrets/jwt-secret`, `secrets/link-secret`, mode 0600, in a folder of mode 0700). Any number of
 * processes may call it at once; all get the same. One file each, so that a later deployment can point
 * `MBK_JWT_SECRET_FILE` at it.
 * @param dataFolder Absolute path; made when it is not there.
 * @throws SecretsError when others can read them, or they are no secrets.
 */
export async function loadOrCreateSecrets(dataFolder: string): Promise<Secrets> {
  const folder = join(dataFolder, 'secrets');
  try {
    // The data folder keeps the usual mode: the embedded database may run as another user and must get through.
    await mkdir(dataFolder, { recursive: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const found = await lstat(folder);
    if (!found.isDirectory()) throw new SecretsError(`${folder} must be a folder.`);
    refuseOthers(folder, found.mode, '700');
    return {
      jwtSecret: await loadOrCreate(folder, 'jwt-secret'),
      linkSecret: await loadOrCreate(folder, 'link-secret'),
    };
  } catch (error) {
    if (error instanceof SecretsError || !(error instanceof Error)) throw error;
    throw new SecretsError(`The secrets in ${folder} cannot be read or made: ${error.message}`, {
      cause: error,
    });
  }
}

async function loadOrCreate(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  return (await read(path)) ?? (await create(folder, path));
}

/** The secret, or undefined when there is no such file. */
async function read(path: string): Promise<string | undefined> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    if (hasCode(error, 'ELOOP')) throw new SecretsError(`${path} must be a file and not a link.`);
    throw error;
  }
  try {
    const { mode } = await file.stat();
    refuseOthers(path, mode, '600');
    const secret = (await file.readFile('utf8')).trim();
    const why = weakness(secret);
    if (why === undefined) return secret;
    throw new SecretsError(
      `${path} is no secret of at least 32 random bytes. Put its old content back, or remove it: ` +
        'a new one is made at the next start, and tokens or links signed with the old one stop working.',
    );
  } finally {
    await file.close();
  }
}

function refuseOthers(path: string, mode: number, wanted: string): void {
  if ((mode & 0o077) === 0) return;
  const octal = (mode & 0o777).toString(8).padStart(4, '0');
  throw new SecretsError(
    `${path} is open to other users (mode ${octal}). They may have read it; close it with: chmod ${wanted} ${path}`,
  );
}

/**
 * Makes the file whole or not at all: written beside, flushed, then linked to its name. A link never
 * replaces, so the first of several processes wins and the others read what it made.
 */
async function create(folder: string, path: string): Promise<string> {
  const draft = `${path}.${randomBytes(8).toString('hex')}`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(`${randomBytes(32).toString('base64')}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      await link(draft, path);
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  } finally {
    await rm(draft, { force: true });
  }
  const parent = await open(folder, constants.O_RDONLY);
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
  const secret = await read(path);
  if (secret === undefined) throw new SecretsError(`${path} disappeared while it was being made.`);
  return secret;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
