import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, mkdir, open, readFile, readdir, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isId, newId } from '../ids.js';
import { MultipartMissing, type Part, type UnfinishedMultipart } from './blob-store.js';
import { isAbsent } from './disk-errors.js';
import { fileMode, folderMode, openFolder, syncFolder, type Folders } from './disk-folders.js';

/**
 * The corner of a disk store where parts wait: `.multipart/{uploadId}/`, in it `upload.json` with the key and one file
 * per part. The file's name is `{number}.{generation}.{size}.{etag}`: everything that is known of a part is in the name,
 * so that a rename publishes all of it at once, and a part that is put again gets the next generation.
 */
export interface PartsFolder {
  /** Makes a new upload, durably, and gives its id. */
  make(key: string): Promise<string>;
  /** The folder of an upload; throws `MultipartMissing` when there is none of this id for this key. */
  find(key: string, uploadId: string): Promise<string>;
  /** Removes an upload with its parts, at once for everybody who looks; an absent one is success. */
  drop(uploadId: string): Promise<void>;
  list(prefix: string): AsyncGenerator<UnfinishedMultipart>;
  /** Removes what was begun before the time given and is not kept, and what drops left half-way. */
  removeStale(
    begunBefore: number,
    keep: (unfinished: UnfinishedMultipart) => boolean | Promise<boolean>,
  ): Promise<number>;
}

/** A part as it lies in its upload's folder. */
export interface StoredPart extends Part {
  readonly generation: number;
  readonly path: string;
}

const description = 'upload.json';
/** Folders on their way out; whoever finds one may finish the work. */
const dropped = '.dropped-';
const partName = /^(\d{1,5})\.(\d{1,9})\.(\d{1,16})\.([0-9a-f]{32})$/;

export function openPartsFolder(root: string, folders: Folders): PartsFolder {
  const folderOf = (uploadId: string): string => join(root, uploadId);

  const make = async (key: string): Promise<string> => {
    const uploadId = newId();
    const folder = folderOf(uploadId);
    await mkdir(root, { recursive: true, mode: folderMode });
    await mkdir(folder, { mode: folderMode });
    await writeFile(join(folder, description), JSON.stringify({ key }), {
      mode: fileMode,
      flag: 'wx',
      flush: true,
    });
    await syncFolder(folder);
    await syncFolder(root);
    return uploadId;
  };

  const find = async (key: string, uploadId: string): Promise<string> => {
    // The id may come from outside; only one of ours becomes a path.
    const folder = isId(uploadId) ? folderOf(uploadId) : undefined;
    if (folder !== undefined && (await folders.exists(folder, key)) && (await keyIn(folder)) === key) {
      return folder;
    }
    throw missing(key);
  };

  const drop = async (uploadId: string): Promise<void> => {
    const gone = join(root, `${dropped}${uploadId}`);
    try {
      // One step: nobody sees an upload that has lost some of its parts, and a paused writer finds no folder.
      await rename(folderOf(uploadId), gone);
    } catch (error) {
      if (isAbsent(error)) return;
      throw error;
    }
    await rm(gone, { recursive: true, force: true });
  };

  async function* list(prefix: string): AsyncGenerator<UnfinishedMultipart> {
    for (const uploadId of await names()) {
      if (!isId(uploadId)) continue;
      const unfinished = await describe(uploadId);
      if (unfinished?.key.startsWith(prefix)) yield unfinished;
    }
  }

  /** Undefined when there is no upload, or not yet: its maker was cut off, or is just at it. */
  const describe = async (uploadId: string): Promise<UnfinishedMultipart | undefined> => {
    const key = await keyIn(folderOf(uploadId));
    const begunAt = key === undefined ? undefined : await changedAt(join(folderOf(uploadId), description));
    return key === undefined || !begunAt ? undefined : { key, uploadId, begunAt };
  };

  const names = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const entry of (await openFolder(root)) ?? []) if (entry.isDirectory()) found.push(entry.name);
    return found;
  };

  const removeStale: PartsFolder['removeStale'] = async (begunBefore, keep) => {
    let removed = 0;
    for (const name of await names()) {
      if (name.startsWith(dropped)) {
        await rm(join(root, name), { recursive: true, force: true });
        continue;
      }
      if (!isId(name)) continue;
      const unfinished = await describe(name);
      const begunAt = unfinished?.begunAt ?? (await changedAt(folderOf(name)));
      if (!begunAt || begunAt.getTime() >= begunBefore) continue;
      if (unfinished && (await keep(unfinished))) continue;
      await drop(name);
      removed += 1;
    }
    return removed;
  };

  return { make, find, drop, list, removeStale };
}

/** The key an upload is for; undefined when the folder or its description is not there, or is cut off. */
async function keyIn(folder: string): Promise<string | undefined> {
  try {
    const { key } = JSON.parse(await readFile(join(folder, description), 'utf8')) as { key?: unknown };
    return typeof key === 'string' ? key : undefined;
  } catch (error) {
    if (isAbsent(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function changedAt(path: string): Promise<Date | undefined> {
  try {
    return (await lstat(path)).mtime;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

export function missing(key: string, cause?: unknown): MultipartMissing {
  return new MultipartMissing('there is no such upload for this key', key, { cause });
}

/** The newest version of every part in an upload's folder, by number; with a number, all versions of that part. */
export async function storedParts(folder: string, only?: number): Promise<readonly StoredPart[]> {
  const all = (await readdir(folder)).flatMap((name): StoredPart[] => {
    const [, number, generation, size, etag] = partName.exec(name) ?? [];
    if (etag === undefined) return [];
    const part = { number: Number(number), generation: Number(generation), size: Number(size), etag };
    return only === undefined || part.number === only ? [{ ...part, path: join(folder, name) }] : [];
  });
  if (only !== undefined) return all;
  const newest = new Map<number, StoredPart>();
  for (const part of all) {
    const other = newest.get(part.number);
    if (!other || isNewer(part, other)) newest.set(part.number, part);
  }
  return [...newest.values()].sort((a, b) => a.number - b.number);
}

/** Of two that were put at the same moment, and so share a generation, everybody takes the same one. */
function isNewer(a: StoredPart, b: StoredPart): boolean {
  return a.generation === b.generation ? a.etag > b.etag : a.generation > b.generation;
}

/** Moves a finished, durable file into an upload as its newest part of this number, in place of earlier ones. */
export async function publishPart(folder: string, path: string, { number, size, etag }: Part): Promise<void> {
  const earlier = await storedParts(folder, number);
  const generation = earlier.reduce((most, part) => Math.max(most, part.generation), 0) + 1;
  await rename(path, join(folder, `${number}.${generation}.${size}.${etag}`));
  await syncFolder(folder);
  for (const part of earlier) {
    try {
      await unlink(part.path);
    } catch (error) {
      // Another put of the same part was faster.
      if (!isAbsent(error)) throw error;
    }
  }
}

/** What a part's etag is made with. SHA-256 is hardware's work, 0.7 CPU-s per GiB; MD5 takes 1.75. */
export function partHash(): Hash {
  return createHash('sha256');
}

/** 128 bits tell parts apart; S3's etags have as many. */
export function etagOf(hash: Hash): string {
  return hash.digest('hex').slice(0, 32);
}

/** Opens a file of the store for reading, never through a symbolic link or a pipe that would hang. */
export function openPart(path: string): ReturnType<typeof open> {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}
