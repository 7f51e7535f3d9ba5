import { sql } from 'kysely';

import type { Tx } from '../../foundation/database/connect.js';
import { bury } from '../files/queries.js';
import { countVariantBytes, type LockedVariant } from './attempt-queries.js';

export interface FileOfVariants {
  readonly id: string;
  readonly project_id: string;
}

/**
 * Removes locked rows of a locked file that nobody is making: their keys are buried, their bytes given back to the quota,
 * and their generations remembered, so that a later row of such a name does not use a key again.
 */
export async function dropVariants(
  tx: Tx,
  file: FileOfVariants,
  rows: readonly LockedVariant[],
  reason: string,
): Promise<void> {
  if (rows.length === 0) return;
  await tx
    .deleteFrom('variants')
    .where('file_id', '=', file.id)
    .where('project_id', '=', file.project_id)
    .where(
      'name',
      'in',
      rows.map(({ name }) => name),
    )
    .execute();
  await tx
    .updateTable('files')
    .set({
      collected_generation: sql<number>`greatest(collected_generation, ${Math.max(...rows.map(({ generation }) => generation))}::integer)`,
    })
    .where('id', '=', file.id)
    .where('project_id', '=', file.project_id)
    .execute();
  const stored = rows.flatMap(({ s3_key: key, size }) => (key === null ? [] : [{ key, size: size ?? 0 }]));
  await bury(
    tx,
    stored.map(({ key }) => ({ key, projectId: file.project_id, reason })),
  );
  const bytes = stored.reduce((sum, { size }) => sum + size, 0);
  // Last: the row is the busiest of a project.
  await countVariantBytes(tx, file.project_id, -bytes);
}
