import pLimit from 'p-limit';

import { Unsupported, type BlobStat, type BlobStore } from '../../../foundation/blobs/blob-store.js';
import { placeOf } from '../../../foundation/blobs/keys.js';
import type { Db } from '../../../foundation/database/connect.js';
import type { Finding } from './finding-queries.js';
import {
  databaseTime,
  isPutNamed,
  knownProjects,
  namedKeys,
  stillHeld,
  type HeldName,
} from './name-queries.js';
import { quarantinedAmong } from './quarantine-queries.js';
import type { Batch } from './scan.js';

export interface JudgeOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Seconds that a blob without a row must have lain unchanged, by the database's clock. */
  readonly graceSeconds: number;
}

/** Blobs asked for at once. */
const parallelStats = 16;

/**
 * Looks again at everything in a batch on which rows and store did not agree.
 * @returns what is left of it, and blobs in quarantine of which nothing is written down.
 */
export async function judge(
  options: JudgeOptions,
  batch: Batch,
): Promise<{ readonly findings: readonly Finding[]; readonly strays: readonly BlobStat[] }> {
  const known = await quarantinedAmong(
    options.db,
    batch.quarantined.map(({ key }) => key),
  );
  return {
    findings: [
      ...(await orphans(options, batch.unheld)),
      ...(await missing(options, batch.unlisted)),
      ...batch.foreign.map(foreign),
    ],
    strays: batch.quarantined.filter(({ key }) => !known.has(key)),
  };
}

/** Blobs that are old enough, that nothing names, and that are still there after that was asked. */
async function orphans(
  { db, blobs, graceSeconds }: JudgeOptions,
  unheld: readonly BlobStat[],
): Promise<readonly Finding[]> {
  if (unheld.length === 0) return [];
  const isOld = await olderThan(db, graceSeconds);
  const old = unheld.filter(({ lastModified }) => isOld(lastModified));
  const named = await namedKeys(
    db,
    old.map(({ key }) => key),
  );
  const found = await stats(
    blobs,
    old.flatMap(({ key }) => (named.has(key) ? [] : [key])),
  );
  const there = [...found.values()].filter((blob) => blob !== undefined);
  const projects = await knownProjects(db, [...new Set(there.flatMap(({ key }) => projectOf(key) ?? []))]);
  return there
    .filter(({ lastModified }) => isOld(lastModified))
    .map(({ key, size, lastModified }) => {
      const projectId = projectOf(key);
      return {
        kind: 'orphan',
        key,
        projectId,
        size,
        modifiedAt: lastModified,
        why: whyOrphan(projectId, projectId !== null && projects.has(projectId)),
      };
    });
}

function whyOrphan(projectId: string | null, isKnown: boolean): string {
  if (projectId === null) return 'no upload names it';
  return isKnown ? 'no row names it' : 'no row names it, and there is no such project';
}

/** Rows whose blobs are not there, and that still name them after that was asked. */
async function missing(
  { db, blobs }: JudgeOptions,
  unlisted: readonly HeldName[],
): Promise<readonly Finding[]> {
  const found = await stats(
    blobs,
    unlisted.map(({ key }) => key),
  );
  const absent = unlisted.filter(({ key }) => found.get(key) === undefined);
  const held = await stillHeld(
    db,
    absent.map(({ key }) => key),
  );
  return absent
    .filter(({ key }) => held.has(key))
    .map(({ key, projectId, fileId, variant, size }) => ({
      kind: 'missing',
      key,
      projectId,
      fileId,
      variant,
      size,
      modifiedAt: null,
      why: variant === null ? 'the original is not in the store' : 'the variant is not in the store',
    }));
}

function foreign({ key, size, lastModified }: BlobStat): Finding {
  const why = 'it is no key of this program, and is left alone';
  return { kind: 'foreign', key, projectId: null, size, modifiedAt: lastModified, why };
}

/** Unfinished puts in parts that are old enough and nobody's. One that is not of our layout is passed over. */
export async function* unfinishedPuts(
  { db, blobs, graceSeconds }: JudgeOptions,
  prefix: string,
): AsyncGenerator<Finding> {
  const isOld = await olderThan(db, graceSeconds);
  try {
    for await (const put of blobs.multipart.list(prefix)) {
      if (placeOf(put.key).kind !== 'blob' || !isOld(put.begunAt)) continue;
      if (await isPutNamed(db, put)) continue;
      yield {
        kind: 'unfinished',
        key: put.key,
        uploadId: put.uploadId,
        projectId: projectOf(put.key),
        size: null,
        modifiedAt: put.begunAt,
        why: 'a put in parts that nobody goes on with',
      };
    }
  } catch (error) {
    // A store without them has none that are unfinished.
    if (!(error instanceof Unsupported)) throw error;
  }
}

async function olderThan(db: Db, seconds: number): Promise<(moment: Date) => boolean> {
  const limit = (await databaseTime(db)).getTime() - seconds * 1000;
  return (moment) => moment.getTime() <= limit;
}

async function stats(
  blobs: BlobStore,
  keys: readonly string[],
): Promise<ReadonlyMap<string, BlobStat | undefined>> {
  const limit = pLimit(parallelStats);
  return new Map(
    await Promise.all(keys.map((key) => limit(async () => [key, await blobs.stat(key)] as const))),
  );
}

/** The project whose folder a key lies in; null for uploads under way. */
export function projectOf(key: string): string | null {
  const place = placeOf(key);
  return place.kind === 'blob' ? (place.projectId ?? null) : null;
}
