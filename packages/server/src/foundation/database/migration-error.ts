export type MigrationTrouble =
  'bad-file' | 'schema-too-new' | 'edited' | 'out-of-order' | 'locked' | 'failed';

/** The schema cannot be brought up to date; the message is one or two sentences for a person. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly trouble: MigrationTrouble;

  constructor(trouble: MigrationTrouble, message: string, cause?: unknown) {
    super(message, { cause });
    this.trouble = trouble;
  }
}
