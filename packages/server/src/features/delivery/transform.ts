import Type from 'typebox';

import type { AskedRecipe } from '../../foundation/imaging/recipe.js';
import {
  readRecipe,
  recipeFromText,
  recipeMembers,
  vocabulary,
  type RecipeMember,
} from '../../foundation/imaging/vocabulary.js';
import { Problem } from '../../foundation/problems.js';
import type { ProjectSettings } from '../projects/settings.js';
import type { ContentRequest } from './content-request.js';

/** Where the parameters of a URL stand in the faults of a request. */
const inQuery = '#/query';
/** Longest value of a parameter: a watermark's is the longest. */
const maxLength = 100;

type Texts = Readonly<Partial<Record<RecipeMember, string>>>;

/** The parameters of a transformation for the schema of a query; their values are read by `readTransform`. */
export const transformParameters = Object.fromEntries(
  recipeMembers.map((member) => [
    member,
    Type.Optional(
      Type.String({
        maxLength,
        description: `Transformation: ${String((vocabulary[member].schema as { description?: string }).description)}`,
      }),
    ),
  ]),
) as Record<RecipeMember, ReturnType<typeof Type.Optional<ReturnType<typeof Type.String>>>>;

/**
 * Reads the transformation that a query asks for.
 * @returns undefined when it asks for none.
 * @throws Problem `invalid-request` that lists every fault.
 */
export function readTransform(query: Texts & { readonly variant?: string }): AskedRecipe | undefined {
  if (!recipeMembers.some((member) => query[member] !== undefined)) return undefined;
  if (query.variant !== undefined) {
    throw new Problem('invalid-request', {
      detail: 'A request names a variant or a transformation, not both.',
      errors: [{ pointer: `${inQuery}/variant`, detail: 'must be absent beside a transformation' }],
    });
  }
  return checkTransform(recipeFromText(query), inQuery);
}

/**
 * Completes and checks the members of a transformation.
 * @param at where they stand in the request.
 * @throws Problem `invalid-request` that lists every fault.
 */
export function checkTransform(members: Readonly<Record<string, unknown>>, at: string): AskedRecipe {
  const read = readRecipe(members);
  if ('recipe' in read) return read.recipe;
  throw new Problem('invalid-request', {
    detail: 'The transformation cannot be made.',
    errors: read.faults.map(({ member, detail }) => ({
      pointer: member === undefined ? at : `${at}/${member}`,
      detail,
    })),
  });
}

/** What may be said without a signature, beside an allowed size: few pictures can be made of it. */
const open: ReadonlySet<string> = new Set<RecipeMember>(['width', 'height', 'fit', 'position', 'format']);

/**
 * Lets a transformation through that somebody signed, or whose size the project allows to everybody: otherwise any
 * visitor could have thousands made.
 * @throws Problem `forbidden`.
 */
export function refuseUnsigned(
  { access }: ContentRequest,
  recipe: AskedRecipe,
  { allowedSizes }: ProjectSettings,
): void {
  // The signature of a link covers every parameter.
  if (access.caller.kind === 'link') return;
  const size = `${recipe.width ?? ''}x${recipe.height ?? ''}`;
  const isOpen = Object.entries(recipe).every(([member, value]) => value === undefined || open.has(member));
  if (isOpen && allowedSizes.includes(size)) return;
  throw new Problem('forbidden', {
    detail:
      'A transformation needs a signed link, unless its size is among the project’s `allowedSizes` and it says nothing but width, height, fit, position and format.',
  });
}
