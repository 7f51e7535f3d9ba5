import type { Tx } from '../../foundation/database/connect.js';
import { enqueue } from '../../foundation/queue/enqueue.js';
import type { ProjectSettings } from '../projects/settings.js';
import { failure } from './failures.js';
import { renderVariants } from './job.js';
import { planRows, type PlannedVariant } from './queries.js';
import { drawingType, isDecodable, isVisual, recipeDigest, recipeOf } from './recipes.js';

/** What planning must know of a file. */
export interface PlannableFile {
  readonly id: string;
  readonly project_id: string;
  /** Detected from the bytes. */
  readonly mime_type: string;
}

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
  file: PlannableFile,
  settings: ProjectSettings,
  { rasterizesSvg = false }: PlanOptions = {},
): Promise<'processing' | 'ready'> {
  if (!isVisual(file.mime_type)) return 'ready';
  const planned = plannedVariants(settings);
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

/** The variants that a project's settings name, with the digests of their recipes. */
export function plannedVariants(settings: ProjectSettings): readonly PlannedVariant[] {
  return Object.entries(settings.variants).map(([name, setting]) => {
    const recipe = recipeOf(setting);
    return { name, recipe, digest: recipeDigest(recipe), lazy: setting.lazy ?? false };
  });
}

/** The job's `variantsConfig` for some variants. */
export function configOf(
  variants: readonly Pick<PlannedVariant, 'name' | 'recipe'>[],
): Record<string, PlannedVariant['recipe']> {
  return Object.fromEntries(variants.map(({ name, recipe }) => [name, recipe]));
}
