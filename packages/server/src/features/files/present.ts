import type { FileRow } from './queries.js';

/**
 * Makes what the API shows of files. Handed in from above, because addresses and variants are decided there: the
 * ledger knows neither.
 */
export type PresentFiles = (
  projectId: string,
  files: readonly FileRow[],
) => Promise<readonly Record<string, unknown>[]>;
