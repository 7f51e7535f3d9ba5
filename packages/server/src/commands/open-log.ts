import type { Settings } from '../config.js';
import { createLog, type Log } from '../foundation/log.js';

/** The process's log as the settings want it: for people on a terminal, for programs elsewhere. */
export function openLog({ logLevel, logFormat }: Settings): Promise<Log> {
  const pretty = logFormat === 'pretty' || (logFormat === 'auto' && process.stdout.isTTY);
  return createLog({ level: logLevel, pretty });
}
