import { pino, type DestinationStream, type Logger } from 'pino';

/** The logger every room is handed; `child({ … })` adds members to each of its lines. */
export type Log = Logger;

/**
 * Members that may carry a secret. pino replaces their values before a line is written, so that
 * even an object logged whole (a request, a configuration) leaks nothing.
 */
const redactedPaths = [
  'authorization',
  'cookie',
  'password',
  'secret',
  'token',
  '*.authorization',
  '*.cookie',
  '*.password',
  '*.secret',
  '*.token',
  'req.headers.authorization',
  'req.headers.cookie',
  'req.headers["x-api-key"]',
  'headers.authorization',
  'headers.cookie',
  'headers["x-api-key"]',
];

export interface LogOptions {
  /** Least severe level that is written. */
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** Human-readable lines instead of JSON; meant for a terminal. */
  readonly pretty: boolean;
  /** Where lines go; standard output when absent. Tests pass their own. */
  readonly destination?: DestinationStream;
}

/**
 * Makes the process's root logger: one JSON object a line with `time` (RFC 3339), `level`, `msg`.
 * Pretty printing runs in the same thread, because a transport thread loses the last lines of a crash.
 */
export async function createLog(options: LogOptions): Promise<Log> {
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: redactedPaths, censor: '[redacted]' },
  };
  if (options.pretty) {
    const { default: pretty } = await import('pino-pretty');
    return pino(
      settings,
      pretty({
        colorize: process.stdout.isTTY && process.stdout.hasColors(),
        translateTime: 'SYS:HH:MM:ss.l',
        ignore: 'requestId',
        sync: true,
        ...(options.destination ? { destination: options.destination } : {}),
      }),
    );
  }
  return options.destination ? pino(settings, options.destination) : pino(settings);
}
