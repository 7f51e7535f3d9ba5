import { LRUCache } from 'lru-cache';

import type { Db } from '../../foundation/database/connect.js';
import { findContent, type ContentRow } from './queries.js';

/** Rows that answers are made from, remembered for less than a second. */
export interface RowCache {
  find(projectId: string, fileId: string, variant: string | undefined): Promise<ContentRow | undefined>;
  /** The row, as it was asked for at `since` (of `performance.now()`) or later. */
  findSince(
    since: number,
    projectId: string,
    fileId: string,
    variant: string | undefined,
  ): Promise<ContentRow | undefined>;
  /** Forgets a file: after the commit that changed it, the next request asks anew. */
  forget(fileId: string): void;
  forgetAll(): void;
}

/**
 * Milliseconds that a row is believed when nobody says that it has changed. A change reaches other processes within
 * one second even when its notice is lost; the rest of it is left for the query.
 */
const maxAgeMs = 900;
/** Files remembered: a page has dozens, and each has some kilobytes. */
const kept = 10_000;

interface Remembered {
  readonly at: number;
  readonly row: Promise<ContentRow | undefined>;
}

/** Requests for one row at the same time are one query; one that is under way when its file is forgotten is not kept. */
export function createRowCache({ db }: { readonly db: Db }): RowCache {
  const files = new LRUCache<string, Map<string, Remembered>>({ max: kept });
  const look = (projectId: string, fileId: string, variant: string | undefined, oldest: number) => {
    let rows = files.get(fileId);
    if (!rows) files.set(fileId, (rows = new Map()));
    const name = variant ?? '';
    const known = rows.get(name);
    // Not the clock of the wall: it may be set back.
    const now = performance.now();
    if (known && known.at >= oldest && now - known.at < maxAgeMs) return known;
    // Names come from outside: whoever tries many must not fill the memory.
    if (rows.size >= maxNames) rows.clear();
    const row = findContent(db, projectId, fileId, variant);
    const fresh = { at: now, row };
    rows.set(name, fresh);
    const mine = rows;
    row.catch(() => {
      if (mine.get(name) === fresh) mine.delete(name);
    });
    return fresh;
  };
  return {
    find: (projectId, fileId, variant) => look(projectId, fileId, variant, -Infinity).row,
    findSince: (since, projectId, fileId, variant) => look(projectId, fileId, variant, since).row,
    forget: (fileId) => void files.delete(fileId),
    forgetAll: () => files.clear(),
  };
}

/** Variants of one file remembered at once. */
const maxNames = 64;
