import { autoFormats, concrete } from '../../foundation/imaging/formats.js';
import type { Point } from '../../foundation/imaging/geometry.js';
import type { AskedRecipe, Recipe } from '../../foundation/imaging/recipe.js';
import type { ProjectSettings } from '../projects/settings.js';
import { isKeptByFrame, recipeDigest, recipeOf } from './recipes.js';

/** A file, as far as what is derived from it depends on it. */
export interface DerivableFile {
  readonly id: string;
  readonly project_id: string;
  /** Detected from the bytes. */
  readonly mime_type: string;
  /** Null before the first decode. */
  readonly frames: number | null;
  /** Parts of width and height, both or neither. */
  readonly focal_x: number | null;
  readonly focal_y: number | null;
}

/** What a name in a URL stands for: a variant of the project's settings, or a transformation. */
export interface Wish {
  /** In the settings, or `adhoc-{digest}`. */
  readonly name: string;
  readonly recipe: AskedRecipe;
  readonly lazy: boolean;
  readonly adhoc: boolean;
}

/** One picture that is to be stored for a file. */
export interface PlannedVariant {
  /** Of its row: the wish's name, with the format behind a dot where that is negotiated. */
  readonly name: string;
  readonly recipe: Recipe;
  /** Of the recipe and what it takes from the file; a row with another one is stale. */
  readonly digest: string;
  readonly lazy: boolean;
}

/** The wish that a name of the settings stands for. */
export function wishOf(settings: ProjectSettings, name: string): Wish | undefined {
  const setting = settings.variants[name];
  return setting && { name, recipe: recipeOf(setting), lazy: setting.lazy ?? false, adhoc: false };
}

/** The wish for a transformation; equal recipes have equal names. */
export function transformation(recipe: AskedRecipe): Wish {
  return { name: `${adhocPrefix}${recipeDigest(recipe)}`, recipe, lazy: true, adhoc: true };
}

/** Begins the names of transformations; the settings may not use it. */
export const adhocPrefix = 'adhoc-';

export function isAdhoc(storedName: string): boolean {
  return storedName.startsWith(adhocPrefix);
}

/** The name in the settings of a row's name. */
export function wishName(storedName: string): string {
  return storedName.split('.', 1)[0] ?? '';
}

/** The names that rows of a setting can have, whatever the file. */
export function storedNames(
  name: string,
  recipe: Pick<AskedRecipe, 'format'> | undefined,
): readonly string[] {
  if (!recipe) return [];
  if (recipe.format !== 'auto') return [name];
  return ['avif', 'webp', 'jpeg', 'png', 'gif'].map((format) => `${name}.${format}`);
}

/** The point of a file that `position: focal` keeps in view. */
export function focalPointOf({ focal_x: x, focal_y: y }: Pick<DerivableFile, 'focal_x' | 'focal_y'>) {
  return x === null || y === null ? undefined : ({ x, y } satisfies Point);
}

/** Digest of a recipe for a file: the same recipe cut around another point gives another picture. */
export function digestFor(recipe: Recipe, file: Pick<DerivableFile, 'focal_x' | 'focal_y'>): string {
  return recipeDigest(recipe, recipe.position === 'focal' ? focalPointOf(file) : undefined);
}

/**
 * The pictures that a wish stands for: one, or with the format `auto` one for each kind of client, the best first and
 * that for everybody last. Of these all but the last are made with the upload: nearly every client knows them.
 */
export function renditionsOf({ name, recipe, lazy }: Wish, file: DerivableFile): readonly PlannedVariant[] {
  if (recipe.format !== 'auto') {
    const only = concrete(recipe, recipe.format);
    return [{ name, recipe: only, digest: digestFor(only, file), lazy }];
  }
  const original = { mimeType: file.mime_type, frames: file.frames };
  const formats = autoFormats(original, isKeptByFrame(recipe));
  return formats.map((format, index) => {
    const made = concrete(recipe, format);
    const isLast = index === formats.length - 1;
    return {
      name: `${name}.${format}`,
      recipe: made,
      digest: digestFor(made, file),
      lazy: lazy || (isLast && formats.length > 1),
    };
  });
}

/** All pictures that a project's settings want of a file. */
export function plannedVariants(settings: ProjectSettings, file: DerivableFile): readonly PlannedVariant[] {
  return Object.keys(settings.variants).flatMap((name) => {
    const wish = wishOf(settings, name);
    return wish ? renditionsOf(wish, file) : [];
  });
}
