import type { SweepRow } from './state-queries.js';

/** Up to so many, a share says nothing. */
const harmless = 100;

/**
 * Judges whether what a scan found can be true. Many blobs without rows, or rows without blobs, more likely tell of a
 * database or a store that is not the right one, or was restored from a backup.
 * @param percent of what was seen that may be wrong, 0 to 100.
 * @returns why nothing may be done about it, as a sentence for a person; undefined when it may.
 */
export function brake(
  sweep: Pick<SweepRow, 'blobs_seen' | 'rows_seen' | 'orphans' | 'missing' | 'project_id'>,
  percent: number,
): string | undefined {
  const { blobs_seen: blobs, rows_seen: rows, orphans, missing } = sweep;
  const isTooMuch = (part: number, whole: number): boolean => part > harmless && part * 100 > whole * percent;
  const remedy = `Nothing was done about it. Check that database and store belong together and that neither was restored alone.`;
  // Of one project all files may well have been purged.
  if (sweep.project_id === null && rows === 0 && orphans > 0) {
    return `The database names no blob at all, and the store has ${blobs}. ${remedy}`;
  }
  if (isTooMuch(orphans, blobs)) {
    return `${orphans} of ${blobs} blobs have no row, more than ${percent} %. ${remedy}`;
  }
  if (isTooMuch(missing, rows)) {
    return `${missing} of ${rows} rows have no blob, more than ${percent} %. ${remedy}`;
  }
  return undefined;
}
