import { wishName, type PlannedVariant } from '../wanted.js';
import type { VariantRow } from '../queries.js';

/** Which variants of a file are made anew. */
export const selections = ['all', 'missing', 'failed', 'stale'] as const;
export type Selection = (typeof selections)[number];

/** What is known of a variant that may be made anew. */
export type ChoosableRow = Pick<
  VariantRow,
  'name' | 'status' | 'recipe_digest' | 'refused_digest' | 'lazy' | 'pending_key'
>;

/** A variant to make anew. */
export interface Chosen {
  readonly planned: PlannedVariant;
  /** Even though what is there was made by this very recipe. */
  readonly force: boolean;
}

/**
 * Chooses among the variants that the settings want of a file. Lazy ones that nobody has asked for stay unmade.
 * @param names in the settings; undefined: all.
 */
export function choose(
  which: Selection,
  names: readonly string[] | undefined,
  planned: readonly PlannedVariant[],
  rows: readonly ChoosableRow[],
): readonly Chosen[] {
  return planned
    .filter(({ name }) => names === undefined || names.includes(wishName(name)))
    .filter((variant) =>
      isChosen(
        which,
        variant,
        rows.find(({ name }) => name === variant.name),
      ),
    )
    .map((variant) => ({ planned: variant, force: which === 'all' }));
}

function isChosen(which: Selection, planned: PlannedVariant, row: ChoosableRow | undefined): boolean {
  const isUnmade = row === undefined ? !planned.lazy : row.status === 'pending' && !row.lazy;
  const isMissing = isUnmade && (row?.pending_key ?? null) === null;
  const hasFailed = row?.status === 'failed' || (row?.refused_digest ?? null) !== null;
  switch (which) {
    case 'missing':
      return isMissing;
    case 'failed':
      return hasFailed;
    case 'stale':
      if (row === undefined || row.recipe_digest === planned.digest) return false;
      return row.status === 'ready'
        ? row.refused_digest !== planned.digest
        : row.status === 'failed' || isMissing;
    case 'all':
      return isMissing || hasFailed || row?.status === 'ready';
  }
}
