import Type, { type Static } from 'typebox';

import type { Tx } from '../../../foundation/database/connect.js';
import type { ProjectSettings } from '../../projects/settings.js';
import { recipeDigest } from '../recipes.js';
import { storedNames, wishOf } from '../wanted.js';
import { orderRegeneration } from './job.js';
import { countStored, keepRemovedNames, supersede } from './queries.js';

/** What a change of the settings means for variants that are there. */
export const VariantChangesSchema = Type.Object(
  {
    added: Type.Array(Type.String(), {
      description:
        'Made of files to come; of those that are there when somebody asks, or by `POST …/variants/regenerate`.',
    }),
    changed: Type.Array(Type.String(), {
      description: 'Stale: made anew in the background, and served as they are until then.',
    }),
    removed: Type.Array(Type.String(), {
      description: 'Served for `MBK_VARIANT_GRACE` more, then removed.',
    }),
    stalePictures: Type.Integer({ description: 'Stored pictures of the changed variants.' }),
    regenerationId: Type.Union([Type.String(), Type.Null()], {
      description: 'Follow it at `GET /projects/:id/regenerations/:regenerationId`.',
    }),
  },
  { description: 'Only when the settings were changed.' },
);
export type VariantChanges = Static<typeof VariantChangesSchema>;

/**
 * Compares the variants of two settings, writes down which names went, and begins to make anew what has become stale.
 * Runs in the transaction that changes the settings.
 */
export async function settingsChanged(
  tx: Tx,
  projectId: string,
  before: ProjectSettings,
  after: ProjectSettings,
): Promise<VariantChanges> {
  const names = Object.keys(after.variants);
  const added = names.filter((name) => !wishOf(before, name));
  const removed = Object.keys(before.variants).filter((name) => !wishOf(after, name));
  const changed = names.filter((name) => {
    const [old, now] = [wishOf(before, name), wishOf(after, name)];
    return old && now && recipeDigest(old.recipe) !== recipeDigest(now.recipe);
  });
  const present = rowNames(after);
  const gone = rowNames(before).filter((name) => !present.includes(name));
  await keepRemovedNames(tx, projectId, { removed: gone, present });

  if (changed.length === 0) return { added, changed, removed, stalePictures: 0, regenerationId: null };
  const unfinished = (await supersede(tx, projectId)).filter((name) => names.includes(name));
  const stalePictures = await countStored(
    tx,
    projectId,
    changed.flatMap((name) => storedNames(name, wishOf(before, name)?.recipe)),
  );
  const walk = await orderRegeneration(tx, {
    projectId,
    which: 'stale',
    names: [...new Set([...changed, ...unfinished])],
    reason: 'settings',
  });
  return { added, changed, removed, stalePictures, regenerationId: walk.id };
}

function rowNames(settings: ProjectSettings): readonly string[] {
  return Object.keys(settings.variants).flatMap((name) => storedNames(name, settings.variants[name]));
}
