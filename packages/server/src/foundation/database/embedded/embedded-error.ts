/** What kind of trouble it is, for a caller that wants to tell them apart. */
export type EmbeddedTrouble =
  | 'no-programs'
  | 'not-ours'
  | 'no-user'
  | 'wrong-major'
  | 'not-a-cluster'
  | 'disk-full'
  | 'start-failed'
  | 'busy';

/** The embedded database cannot run here; the message is one or two sentences for a person. */
export class EmbeddedError extends Error {
  override readonly name = 'EmbeddedError';
  readonly trouble: EmbeddedTrouble;

  constructor(trouble: EmbeddedTrouble, message: string, cause?: unknown) {
    super(message, { cause });
    this.trouble = trouble;
  }
}

/** The `code` of a system error (`ENOENT`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Words for a fault of the file system met in `folder`; other errors are passed on as they are. */
export function inWords(error: unknown, folder: string): unknown {
  switch (systemCode(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new EmbeddedError('disk-full', `There is no space left for the database in ${folder}.`, error);
    case 'EROFS':
      return new EmbeddedError(
        'not-ours',
        `${folder} is on a read-only file system; choose another MBK_DATA_FOLDER, or set DATABASE_URL.`,
        error,
      );
    case 'EACCES':
    case 'EPERM':
      return notOurs(folder, error);
    default:
      return error;
  }
}

/** The sentence for a folder that this user may not use. */
export function notOurs(folder: string, cause?: unknown, owner?: number): EmbeddedError {
  const whose = owner === undefined ? 'is closed to' : `belongs to user id ${owner}, not to`;
  return new EmbeddedError(
    'not-ours',
    `The database folder ${folder} ${whose} the user id this process runs as (${process.getuid?.() ?? 'unknown'}). ` +
      'Run as its owner, give it away with chown -R, or choose another MBK_DATA_FOLDER.',
    cause,
  );
}
