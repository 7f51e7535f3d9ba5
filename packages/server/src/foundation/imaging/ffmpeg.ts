import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';

import type { Log } from '../log.js';
import { ImagingError } from './imaging.js';
import { lowerPriority } from './low-priority.js';
import { watchLimits, type Limits } from './watch-limits.js';

const ask = promisify(execFile);

/** Longest time that ffmpeg may take to say its version; 50 ms are usual. */
const versionMs = 10_000;
/** Last characters of standard error that are kept. */
const complaintLength = 4000;

export interface FindOptions {
  /** `auto` looks into `folders`; anything else is the program's absolute path. */
  readonly wanted: string;
  readonly folders: readonly string[];
  readonly log: Log;
}

/**
 * Finds ffmpeg and lets it say its version. What is not there, or does not run, is said in the log and is no failure: films
 * are then kept without pictures.
 * @returns its absolute path; undefined with `off` and when there is none that runs.
 */
export async function findFfmpeg({ wanted, folders, log }: FindOptions): Promise<string | undefined> {
  if (wanted === 'off') return undefined;
  const candidates =
    wanted === 'auto'
      ? folders.filter((folder) => isAbsolute(folder)).map((folder) => join(folder, 'ffmpeg'))
      : [wanted];
  for (const path of candidates) {
    try {
      await access(path, constants.X_OK);
    } catch {
      continue;
    }
    try {
      const { stdout } = await ask(path, ['-hide_banner', '-version'], {
        env: {},
        timeout: versionMs,
        killSignal: 'SIGKILL',
      });
      log.info({ ffmpeg: path, version: stdout.split('\n', 1)[0] }, 'posters of films are taken');
      return path;
    } catch (error) {
      log.error({ ffmpeg: path, err: error }, 'ffmpeg is here but does not run');
    }
  }
  if (wanted === 'auto') log.info('there is no ffmpeg: films are kept without pictures');
  else log.error({ ffmpeg: wanted }, 'ffmpeg cannot be used: films are kept without pictures');
  return undefined;
}

export interface FfmpegRun {
  readonly program: string;
  readonly args: readonly string[];
  readonly limits: Limits;
  readonly signal: AbortSignal;
}

/**
 * Runs ffmpeg to its end: no shell, no environment, nothing on standard input, at a low priority, killed when it passes a
 * limit. Settles only when the process is gone.
 * @returns whether it says that it succeeded, and what it complained of.
 * @throws ImagingError `decoder-timeout`, `decoder-memory`, `aborted`; `decoder-crashed` when it ended by a signal or could
 * not be started.
 */
export async function runFfmpeg({
  program,
  args,
  limits,
  signal,
}: FfmpegRun): Promise<{ readonly succeeded: boolean; readonly complaint: string }> {
  if (signal.aborted) throw gaveUp(signal);
  const child = spawn(program, args, { env: {}, stdio: ['ignore', 'ignore', 'pipe'] });
  lowerPriority(child.pid);
  let killed: ImagingError | undefined;
  const kill = (why: ImagingError): void => {
    killed ??= why;
    child.kill('SIGKILL');
  };
  const abort = (): void => kill(gaveUp(signal));
  signal.addEventListener('abort', abort, { once: true });
  const stopWatching = watchLimits(child.pid, 'The film', limits, kill);
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-complaintLength);
  });
  try {
    const [exitCode, signalCode] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    if (killed) throw killed;
    if (signalCode !== null) throw new ImagingError('decoder-crashed', `ffmpeg ended by ${signalCode}.`);
    return { succeeded: exitCode === 0, complaint };
  } catch (error) {
    if (error instanceof ImagingError) throw error;
    throw new ImagingError('decoder-crashed', 'ffmpeg could not be started.', { cause: error });
  } finally {
    stopWatching();
    signal.removeEventListener('abort', abort);
  }
}

function gaveUp(signal: AbortSignal): ImagingError {
  return new ImagingError('aborted', 'The caller gave up.', { cause: signal.reason });
}
