import { createHash } from 'node:crypto';

import type { Tx } from '../../../foundation/database/connect.js';
import type { Lane } from '../../../foundation/queue/define.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { lockFile, lockVariants } from '../attempt-queries.js';
import { failure } from '../failures.js';
import { renderVariants } from '../job.js';
import { configOf } from '../plan.js';
import { planRows, wantAnew, wantRecipe } from '../queries.js';
import { isDecodable, isVisual } from '../recipes.js';
import { plannedVariants } from '../wanted.js';
import type { ProjectSettings } from '../../projects/settings.js';
import { choose, type Selection } from './choose.js';

export interface AnewOptions {
  readonly which: Selection;
  /** In the settings; undefined: all. */
  readonly names?: readonly string[] | undefined;
  readonly lane: Lane;
}

/**
 * Has variants of one file made anew; what is ready stays served until its successor is there. Locks the file.
 * @returns how many variants were planned.
 */
export async function planAnew(
  tx: Tx,
  { projectId, fileId }: { readonly projectId: string; readonly fileId: string },
  settings: ProjectSettings,
  { which, names, lane }: AnewOptions,
): Promise<number> {
  const file = await lockFile(tx, projectId, fileId);
  if (!file || file.deleted_at !== null || file.projectDeleted || !isProcessed(file.status)) return 0;
  // Of what is no picture, drawing or film no variants are planned at the upload either.
  if (!isVisual(file.mime_type)) return 0;
  const rows = await lockVariants(tx, projectId, fileId);
  const chosen = choose(which, names, plannedVariants(settings, file), rows);
  if (chosen.length === 0) return 0;
  const all = chosen.map(({ planned }) => planned);
  if (!isDecodable(file.mime_type)) {
    await planRows(tx, file, all, failure('unsupported-codec'));
    return 0;
  }
  for (const { planned, force } of chosen) {
    const row = rows.find(({ name }) => name === planned.name);
    if (row?.status !== 'ready') await planRows(tx, file, [{ ...planned, lazy: row?.lazy ?? planned.lazy }]);
    else if (force) await wantAnew(tx, row, planned.digest);
    else await wantRecipe(tx, row, planned.digest);
  }
  const said = all.map(({ name, digest }) => `${name}=${digest}`).join();
  const key = createHash('sha256').update(said).digest('base64url').slice(0, 16);
  await enqueue(
    tx,
    renderVariants,
    { fileId, variantsConfig: configOf(all) },
    { projectId, lane, dedupeKey: `${fileId}:anew:${key}` },
  );
  return all.length;
}

function isProcessed(status: string): boolean {
  return status === 'processing' || status === 'ready' || status === 'failed';
}
