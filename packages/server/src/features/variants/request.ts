import type { Db, Tx } from '../../foundation/database/connect.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import type { ProjectSettings } from '../projects/settings.js';
import { lockVariant, type LockedVariant } from './attempt-queries.js';
import { abandonedSeconds } from './claim.js';
import { failure } from './failures.js';
import { renderVariants } from './job.js';
import { configOf, plannedVariants, type PlannableFile } from './plan.js';
import { addLazyRow, planRows, type PlannedVariant } from './queries.js';
import { isDecodable, storedRecipe } from './recipes.js';

/**
 * An eager variant is left to the job of its upload for this long; then somebody who asks for it gets a job in
 * the lane for those who wait. Below that, an upload and a page that shows it would decode the picture twice.
 */
const patienceSeconds = 2;

/**
 * Sees to it that a variant somebody asks for is made: a lazy one, one that the project got after the upload, one
 * whose recipe has changed, or an eager one that is stuck in a long queue. Safe to call by everybody at once.
 * The names of variants are those of the settings; for others nothing happens.
 */
export async function requestVariant(
  db: Db,
  file: PlannableFile,
  name: string,
  settings: ProjectSettings,
): Promise<void> {
  const wanted = plannedVariants(settings).find((variant) => variant.name === name);
  await db.transaction().execute(async (tx) => {
    if (wanted && !isDecodable(file.mime_type)) {
      await planRows(tx, file, [wanted], failure('unsupported-codec'));
      return;
    }
    if (wanted) await addLazyRow(tx, file, wanted);
    const row = await lockVariant(tx, file.project_id, file.id, name);
    if (!row) return;
    const variant = await toRender(tx, file, row, wanted);
    if (!variant) return;
    await enqueue(
      tx,
      renderVariants,
      { fileId: file.id, variantsConfig: configOf([variant]) },
      { projectId: file.project_id, lane: 'interactive', dedupeKey: `${file.id}:${name}` },
    );
  });
}

/** What has to be rendered for the row, if anything; brings a waiting row up to the settings. */
async function toRender(
  tx: Tx,
  file: PlannableFile,
  row: LockedVariant,
  wanted: PlannedVariant | undefined,
): Promise<Pick<PlannedVariant, 'name' | 'recipe'> | undefined> {
  const stale = wanted !== undefined && wanted.digest !== row.recipe_digest;
  if (row.pending_key !== null) {
    return row.silentSeconds > abandonedSeconds ? (wanted ?? storedOf(row)) : undefined;
  }
  switch (row.status) {
    case 'ready':
      return stale ? wanted : undefined;
    case 'failed':
      // The same recipe fails again for the same reason, unless the reason was that nobody wanted it any more.
      if (!stale && row.failure_code !== 'file-deleted') return undefined;
      await planRows(tx, file, [{ ...(wanted ?? storedOf(row)), lazy: row.lazy }]);
      return wanted ?? storedOf(row);
    default:
      if (!row.lazy && row.silentSeconds < patienceSeconds) return undefined;
      if (stale) await planRows(tx, file, [{ ...wanted, lazy: row.lazy }]);
      return wanted ?? storedOf(row);
  }
}

function storedOf(row: LockedVariant): PlannedVariant {
  return {
    name: row.name,
    recipe: storedRecipe(row.recipe),
    digest: row.recipe_digest,
    lazy: row.lazy,
  };
}
