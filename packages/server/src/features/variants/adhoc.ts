import type { Tx } from '../../foundation/database/connect.js';
import { lockAdhoc } from './collect-queries.js';
import { dropVariants, type FileOfVariants } from './drop-queries.js';

/**
 * Makes room for one more transformation of a locked file: beyond the cap those go that were not asked for longest. What
 * is just being made stays, so a burst of requests may pass the cap for as long as that takes.
 */
export async function makeRoom(tx: Tx, file: FileOfVariants, perFile: number): Promise<void> {
  const kept = await lockAdhoc(tx, file);
  const surplus = kept.length - perFile + 1;
  if (surplus > 0) await dropVariants(tx, file, kept.slice(0, surplus), 'too many transformations of a file');
}
