import type { Db, Tx } from '../../foundation/database/connect.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import { makeRoom } from './adhoc.js';
import { lockFile, lockVariant, type LockedVariant } from './attempt-queries.js';
import { abandonedSeconds } from './claim.js';
import { failure } from './failures.js';
import { renderVariants } from './job.js';
import { configOf } from './plan.js';
import { addLazyRow, planRows, wantRecipe } from './queries.js';
import { isDecodable, storedRecipe } from './recipes.js';
import { isAdhoc, type DerivableFile, type PlannedVariant } from './wanted.js';

/** Bounds of what URLs may have made. */
export interface AdhocLimits {
  /** Transformations kept for one file; a further one takes the place of that which was not asked for longest. */
  readonly perFile: number;
  /** Seconds for which one is kept after it was asked for. */
  readonly keepSeconds: number;
}

/**
 * An eager variant is left to the job of its upload for this long; then somebody who asks for it gets a job in
 * the lane for those who wait. Below that, an upload and a page that shows it would decode the picture twice.
 */
const patienceSeconds = 2;

/**
 * Sees to it that a picture somebody asks for is made: a lazy one, one that the project got after the upload, a
 * transformation, one whose recipe has changed, or an eager one that is stuck in a long queue. Safe to call by everybody
 * at once.
 * @param wanted what it is to be now; undefined for one that the settings no longer name.
 */
export async function requestVariant(
  db: Db,
  file: DerivableFile,
  name: string,
  wanted: PlannedVariant | undefined,
  limits: AdhocLimits,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    if (wanted && !isDecodable(file.mime_type) && !isAdhoc(name)) {
      await planRows(tx, file, [wanted], failure('unsupported-codec'));
      return;
    }
    let row = await lockVariant(tx, file.project_id, file.id, name);
    if (!row && wanted) {
      await addMissing(tx, file, wanted, limits);
      row = await lockVariant(tx, file.project_id, file.id, name);
    }
    if (!row) return;
    const variant = await toRender(tx, file, row, wanted);
    if (!variant) return;
    await enqueue(
      tx,
      renderVariants,
      { fileId: file.id, variantsConfig: configOf([variant]) },
      { projectId: file.project_id, lane: 'interactive', dedupeKey: `${file.id}:${name}:${variant.digest}` },
    );
  });
}

async function addMissing(
  tx: Tx,
  file: DerivableFile,
  wanted: PlannedVariant,
  { perFile, keepSeconds }: AdhocLimits,
): Promise<void> {
  // Against those who collect its variants; and the row of a file that is gone would have nothing to stand on.
  const held = await lockFile(tx, file.project_id, file.id);
  if (!held || held.deleted_at !== null) return;
  if (!isAdhoc(wanted.name)) return addLazyRow(tx, file, wanted);
  await makeRoom(tx, held, perFile);
  await addLazyRow(tx, file, wanted, keepSeconds);
}

/** What has to be rendered for the row, if anything; brings a waiting row up to the settings. */
async function toRender(
  tx: Tx,
  file: DerivableFile,
  row: LockedVariant,
  wanted: PlannedVariant | undefined,
): Promise<PlannedVariant | undefined> {
  const stale = wanted !== undefined && wanted.digest !== row.recipe_digest;
  if (row.pending_key !== null) {
    return row.silentSeconds > abandonedSeconds ? (wanted ?? storedOf(row)) : undefined;
  }
  switch (row.status) {
    case 'ready':
      // It could not be made so; only an order to do everything anew tries that again.
      if (!stale || row.refused_digest === wanted.digest) return undefined;
      await wantRecipe(tx, row, wanted.digest);
      return wanted;
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
