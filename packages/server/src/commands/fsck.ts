import type { Settings } from '../config.js';
import { blobChecks, rowChecks, type CheckName } from '../features/cleanup/fsck/checks.js';
import { fsck, FsckRefused, type Violation } from '../features/cleanup/fsck/fsck.js';
import { createLog } from '../foundation/log.js';
import { openGround, openStore } from '../kit.js';
import { fsckOptions } from '../kit/room-options.js';

export interface FsckCommand {
  readonly deep?: boolean;
  readonly repair?: boolean;
  readonly json?: boolean;
  readonly print: (line: string) => void;
  /** Log lines and sentences that are no result. */
  readonly remark: (line: string) => void;
  readonly signal: AbortSignal;
}

/** What must hold, by the name of its check. */
export function docOf(check: CheckName): string {
  const all: Readonly<Record<CheckName, { readonly doc: string }>> = { ...rowChecks, ...blobChecks };
  return all[check].doc;
}

/**
 * Checks the installation's rows and blobs, beside a running server or without one.
 * @returns the exit code: 0 clean, 1 violations remain, 2 could not check.
 * @throws ConfigError, StoreUnavailable and the like: sentences for a person.
 */
export async function fsckAndEnd(settings: Settings, command: FsckCommand): Promise<number> {
  const { print, remark, signal, json = false, deep = false, repair = false } = command;
  // Standard output is for the result.
  const log = await createLog({
    level: settings.logLevel,
    pretty: settings.logFormat === 'pretty',
    destination: { write: (line) => remark(line.trimEnd()) },
  });
  const began = performance.now();
  const violations: Violation[] = [];
  const ground = await openGround(settings, log, 'fsck');
  try {
    const blobs = await openStore(settings, log);
    try {
      const { found, repaired } = await fsck(fsckOptions(settings, { db: ground.database.db, blobs }), {
        deep,
        repair,
        signal,
        onViolation: (violation) => {
          if (json) violations.push(violation);
          else print(lineOf(violation));
        },
      });
      const seconds = Math.round((performance.now() - began) / 100) / 10;
      if (json) print(JSON.stringify({ found, repaired, seconds, violations }));
      else print(summary(found, repaired, seconds, deep));
      return found > repaired ? 1 : 0;
    } catch (error) {
      if (!(error instanceof FsckRefused) && !signal.aborted) throw error;
      remark(error instanceof FsckRefused ? error.message : 'Interrupted.');
      return 2;
    } finally {
      await blobs.close();
    }
  } finally {
    await ground.close();
  }
}

function lineOf({ check, subject, detail, repaired }: Violation): string {
  return `${check}: ${subject}: ${detail}${repaired ? '; repaired' : ''}`;
}

function summary(found: number, repaired: number, seconds: number, deep: boolean): string {
  const what = deep ? 'Rows, blobs and bytes' : 'Rows and blobs';
  if (found === 0) return `${what} are as they must be (${seconds} s).`;
  const left = found - repaired;
  return `${what}: ${found} violations, ${repaired} repaired, ${left} remain (${seconds} s).`;
}
