import type { Settings } from '../config.js';
import type { BlobStore } from '../foundation/blobs/blob-store.js';
import type { Db } from '../foundation/database/connect.js';
import type { Log } from '../foundation/log.js';

/** What a person asks for. */
export interface CleanupCommand {
  /** A name of the table in cleanup.ts. */
  readonly what: string;
  readonly dryRun?: boolean;
  readonly delete?: boolean;
  readonly project?: string;
  readonly bytes?: number;
  readonly json?: boolean;
  readonly print: (line: string) => void;
  /** Log lines and sentences that are no result. */
  readonly remark: (line: string) => void;
  readonly signal: AbortSignal;
}

/** What a cleaner works with. */
export interface CleanupScene {
  readonly settings: Settings;
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly log: Log;
  readonly command: CleanupCommand;
}
