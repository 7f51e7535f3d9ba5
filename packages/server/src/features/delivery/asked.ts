import { namedTypes } from '../../foundation/http/accept.js';
import { Problem } from '../../foundation/problems.js';
import type { ProjectSettings } from '../projects/settings.js';
import { renditionsOf, transformation, wishOf, type PlannedVariant, type Wish } from '../variants/wanted.js';
import type { ContentRequest } from './content-request.js';
import type { ContentRow } from './queries.js';
import type { RowCache } from './row-cache.js';
import type { SettingsCache } from './settings-cache.js';
import { refuseUnsigned } from './transform.js';

export interface AskedOptions {
  readonly rows: RowCache;
  readonly settings: SettingsCache;
}

/** What a request asks for, in the words of the file's rows. */
export interface Asked {
  readonly row: ContentRow;
  readonly settings: ProjectSettings;
  /** The picture that is wanted; undefined when it is the original. */
  readonly picture:
    | {
        /** Of its row. */
        readonly name: string;
        /** Undefined: only the row knows it, since the settings no longer say the name. */
        readonly planned: PlannedVariant | undefined;
        /** What else would do for this client, in order: only where formats are negotiated. */
        readonly instead: readonly PlannedVariant[];
      }
    | undefined;
  /** The answer depends on `Accept`. */
  readonly negotiated: boolean;
}

/**
 * Finds the rows that a request is about.
 * @throws Problem `not-found`, `unknown-variant`, `forbidden` for a transformation that nobody signed or allowed.
 */
export async function findAsked({ rows, settings }: AskedOptions, request: ContentRequest): Promise<Asked> {
  const { access, query } = request;
  const byTransform = query.transform && transformation(query.transform);
  const name = byTransform?.name ?? query.variant;
  const asked = performance.now();
  // A name whose formats are negotiated has no row of its own: this look is for the settings.
  let glance = await rows.find(access.projectId, access.fileId, name);
  const isKnown =
    glance &&
    (name === undefined || byTransform || glance.variant || wishOf(settings.of(glance), name) !== undefined);
  // What is not known is looked for anew: it may have become known this very moment.
  if (!isKnown) glance = await rows.findSince(asked, access.projectId, access.fileId, name);
  if (!glance) throw new Problem('not-found');
  const project = settings.of(glance);
  if (name === undefined) return { row: glance, settings: project, picture: undefined, negotiated: false };
  if (byTransform) refuseUnsigned(request, byTransform.recipe, project);
  const wish = byTransform ?? wishOf(project, name);
  const choices = wish ? choicesOf(glance, wish) : [];
  const negotiated = wish?.recipe.format === 'auto';
  const fitting = negotiated ? acceptable(choices, request.headers.accept) : choices;
  const [planned, ...instead] = fitting;
  const stored = planned?.name ?? name;
  const remembered = await rows.find(access.projectId, access.fileId, stored);
  // What is not there yet is looked for anew unless it just was: it may have been made this very moment.
  const isThere = remembered?.variant?.status === 'ready';
  const row = isThere ? remembered : await rows.findSince(asked, access.projectId, access.fileId, stored);
  if (!row) throw new Problem('not-found');
  if (!planned && !row.variant) throw new Problem('unknown-variant');
  return { row, settings: project, picture: { name: stored, planned, instead }, negotiated };
}

const known = new WeakMap<ContentRow, { readonly wish: Wish; readonly choices: readonly PlannedVariant[] }>();

/** The pictures a wish stands for; made once for a row, since digests cost more than the rest of an answer. */
function choicesOf(row: ContentRow, wish: Wish): readonly PlannedVariant[] {
  const remembered = known.get(row);
  if (remembered?.wish.name === wish.name) return remembered.choices;
  const choices = renditionsOf(wish, row.file);
  known.set(row, { wish, choices });
  return choices;
}

/** Those that the client says it knows, and the last, which is for everybody. */
function acceptable(
  choices: readonly PlannedVariant[],
  accept: string | undefined,
): readonly PlannedVariant[] {
  const types = namedTypes(accept);
  return choices.filter(
    ({ recipe }, index) => index === choices.length - 1 || types.has(`image/${recipe.format}`),
  );
}
