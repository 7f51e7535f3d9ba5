import pg from 'pg';

/** SQLSTATE of an error that the server sent (`23505`), or undefined. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** A row with the same unique key exists. `constraint`: name of the index or constraint that must be the one. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  return violates(error, '23505', constraint);
}

/** A referenced row does not exist, or a row is still referenced. */
export function isForeignKeyViolation(error: unknown, constraint?: string): boolean {
  return violates(error, '23503', constraint);
}

/** A CHECK refused the row, such as a counter that would fall below zero. */
export function isCheckViolation(error: unknown, constraint?: string): boolean {
  return violates(error, '23514', constraint);
}

function violates(error: unknown, state: string, constraint: string | undefined): boolean {
  return (
    error instanceof pg.DatabaseError &&
    error.code === state &&
    (constraint === undefined || error.constraint === constraint)
  );
}

/**
 * The transaction was rolled back for the sake of another one, and the same work may succeed when done again:
 * serialization failure, deadlock, lock timeout. Nothing of it was committed.
 */
export function isRetryable(error: unknown): boolean {
  return ['40001', '40P01', '55P03'].includes(sqlState(error) ?? '');
}

/** The server cancelled the statement because it ran too long. */
export function isStatementTimeout(error: unknown): boolean {
  return sqlState(error) === '57014';
}

/** Shutdown by an administrator, after a crash, not yet started, no free connection. */
const unavailableStates = ['57P01', '57P02', '57P03', '57P05', '53300'];

const systemCodes = [
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
];

/** The driver has no codes for these (pg 8.23: client.js, pg-pool index.js). */
const driverMessages = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
];

/**
 * The server could not be reached, or the connection to it was lost; trying later may help. When it happens at
 * a COMMIT, whether that took effect is unknown.
 */
export function isConnectionError(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return state.startsWith('08') || unavailableStates.includes(state);
  if (!(error instanceof Error)) return false;
  // A refused "localhost" is an AggregateError with the code of its parts.
  const { code, syscall }: NodeJS.ErrnoException = error;
  // The unix socket of a server that is not there; of a file it would mean something else.
  if (code === 'ENOENT') return syscall === 'connect';
  if (code !== undefined) return systemCodes.includes(code);
  return driverMessages.some((message) => error.message.startsWith(message));
}
