import type { Tx } from '../../foundation/database/connect.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import type { ProjectSettings } from '../projects/settings.js';
import { failure } from './failures.js';
import { renderVariants } from './job.js';
import { planRows } from './queries.js';
import { drawingType, isDecodable, isVisual } from './recipes.js';
import { plannedVariants, type DerivableFile, type PlannedVariant } from './wanted.js';

export interface PlanOptions {
  /** Whether the workers draw SVG. Where they do not, its variants fail without a job; false when absent. */
  readonly rasterizesSvg?: boolean;
}

/**
 * Plans the variants of a file whose bytes are complete: writes their rows and enqueues one job for those made
 * at once; lazy ones wait for their first request. Runs in the transaction that completes the upload.
 * @returns the status that the file gets in the same transaction.
 */
export async function planVariants(
  tx: Tx,
  uploaded: Pick<DerivableFile, 'id' | 'project_id' | 'mime_type'>,
  settings: ProjectSettings,
  { rasterizesSvg = false }: PlanOptions = {},
): Promise<'processing' | 'ready'> {
  if (!isVisual(uploaded.mime_type)) return 'ready';
  const file = { ...uploaded, frames: null, focal_x: null, focal_y: null };
  const planned = plannedVariants(settings, file);
  const isShut = file.mime_type === drawingType && !rasterizesSvg;
  if (isShut || !isDecodable(file.mime_type)) {
    await planRows(tx, file, planned, failure('unsupported-codec'));
    return 'ready';
  }
  await planRows(tx, file, planned);
  const eager = planned.filter(({ lazy }) => !lazy);
  if (eager.length === 0) return 'ready';
  await enqueue(
    tx,
    renderVariants,
    { fileId: file.id, variantsConfig: configOf(eager) },
    { projectId: file.project_id },
  );
  return 'processing';
}

/** The job's `variantsConfig` for some variants. */
export function configOf(
  variants: readonly Pick<PlannedVariant, 'name' | 'recipe'>[],
): Record<string, PlannedVariant['recipe']> {
  return Object.fromEntries(variants.map(({ name, recipe }) => [name, recipe]));
}
