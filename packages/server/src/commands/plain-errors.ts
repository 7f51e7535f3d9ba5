import { SecretsError } from '../config/secrets.js';
import { BackupError } from '../features/cleanup/backup/format.js';
import { StoreFull, StoreUnavailable } from '../foundation/blobs/blob-store.js';
import { EmbeddedError } from '../foundation/database/embedded/embedded-error.js';
import { LoadRefused } from '../foundation/database/load.js';
import { MigrationError } from '../foundation/database/migration-error.js';
import { DatabaseUnavailable } from '../foundation/database/wait.js';

/** The process cannot start; the message is a sentence for a person, who can mend it. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** A command was told something that cannot be; the message is a sentence for a person. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

const plain = [
  StartError,
  CommandError,
  SecretsError,
  BackupError,
  LoadRefused,
  StoreUnavailable,
  StoreFull,
  EmbeddedError,
  MigrationError,
  DatabaseUnavailable,
];

/** True for errors whose message says all there is to say; anything else is shown with its stack. */
export function isPlain(error: unknown): error is Error {
  return plain.some((kind) => error instanceof kind);
}
