import type { Settings } from '../../config.js';
import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import type { DatabaseFacts } from '../../foundation/database/examine.js';
import type { MigrationStatus } from '../../foundation/database/migrate.js';
import type { Log } from '../../foundation/log.js';

/**
 * ok: as it should be. warn: it works, and somebody should look. fail: it does not. none: there is nothing to look at, or
 * something it needs fails. unknown: it could not be looked at.
 */
export type Status = 'ok' | 'warn' | 'fail' | 'none' | 'unknown';

/** What a check has found. */
export interface Diagnosis {
  readonly status: Status;
  /** What is there, in a few words. */
  readonly found: string;
  /** What a person does about it, as sentences; there whenever the status is `warn` or `fail`. */
  readonly todo?: string;
}

/** The database as far as it could be reached. */
export interface OpenedDatabase {
  readonly facts: DatabaseFacts;
  readonly schema: Schema;
  readonly db: Db;
}

/** How the schema of the database stands to this program; `fault` is a sentence. */
export type Schema = Pick<MigrationStatus, 'applied' | 'pending'> | { readonly fault: string };

/** An installation, opened as far as that was possible. */
export interface Patient {
  readonly settings: Settings;
  readonly log: Log;
  /** Why it could not be opened, when it is no database. */
  readonly database: OpenedDatabase | Diagnosis;
  readonly store: BlobStore | Diagnosis;
}

/** One line of the table: what is looked at, and how. */
export interface DoctorCheck {
  /** For programs and people: `disk-space`. */
  readonly name: string;
  readonly look: (patient: Patient) => Diagnosis | Promise<Diagnosis>;
}

export const ok = (found: string): Diagnosis => ({ status: 'ok', found });
export const warn = (found: string, todo: string): Diagnosis => ({ status: 'warn', found, todo });
export const fail = (found: string, todo: string): Diagnosis => ({ status: 'fail', found, todo });
export const none = (found: string): Diagnosis => ({ status: 'none', found });

export function isDiagnosis(part: object): part is Diagnosis {
  return 'status' in part && 'found' in part;
}

/** What an error says, for a person. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
