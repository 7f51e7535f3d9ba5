import type { Tx } from '../../foundation/database/connect.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import { findProject } from '../projects/queries.js';
import { lockFile, lockVariant } from './attempt-queries.js';
import { abandonedSeconds } from './claim.js';
import { renderVariants } from './job.js';
import { configOf } from './plan.js';
import { wantAnew } from './queries.js';
import { isDecodable, storedRecipe } from './recipes.js';
import { digestFor, plannedVariants, type PlannedVariant } from './wanted.js';

/**
 * Has one variant rendered again whose bytes are lost, by the recipe that the settings have for it now, or by its own
 * when they name it no more. Locks the file.
 * @returns false when it cannot be: its file or project is deleted, its row is gone, or it cannot be decoded.
 */
export async function renderAgain(
  tx: Tx,
  { projectId, fileId, name }: { readonly projectId: string; readonly fileId: string; readonly name: string },
): Promise<boolean> {
  const file = await lockFile(tx, projectId, fileId);
  const row = await lockVariant(tx, projectId, fileId, name);
  const project = await findProject(tx, projectId);
  if (!file || !row || !project || file.deleted_at !== null || !isDecodable(file.mime_type)) return false;
  // Somebody is making its successor.
  if (row.pending_key !== null && row.silentSeconds < abandonedSeconds) return true;
  const recipe = storedRecipe(row.recipe);
  const own: PlannedVariant = { name, recipe, digest: digestFor(recipe, file), lazy: row.lazy };
  const planned = plannedVariants(project.settings, file).find((one) => one.name === name) ?? own;
  await wantAnew(tx, row, planned.digest);
  await enqueue(
    tx,
    renderVariants,
    { fileId, variantsConfig: configOf([planned]) },
    { projectId, lane: 'background', dedupeKey: `${fileId}:again:${name}:${planned.digest}` },
  );
  return true;
}
