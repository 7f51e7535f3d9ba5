import type { Db } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import type { ProjectSettings } from '../projects/settings.js';
import { isDecodable } from '../variants/recipes.js';
import type { VariantRequests } from '../variants/variants.js';
import { wishName } from '../variants/wanted.js';
import type { Asked } from './asked.js';
import type { ContentRequest } from './content-request.js';
import { findContent, findReady, type ContentRow } from './queries.js';
import { readyVariantOf, type Source } from './source.js';

export interface LazyOptions {
  readonly db: Db;
  readonly variants: VariantRequests;
  /** Longest time in seconds that `?wait=` holds a request. */
  readonly maxWaitSeconds: number;
}

export type FoundVariant =
  | { readonly kind: 'ready'; readonly row: ContentRow; readonly source: Source }
  /** Another format or an earlier picture of the same name, until the one that is wanted is there. */
  | { readonly kind: 'other'; readonly row: ContentRow; readonly source: Source }
  | { readonly kind: 'original'; readonly row: ContentRow }
  | { readonly kind: 'placeholder'; readonly row: ContentRow };

/** After so long in a queue an eager variant is asked for again, now in the lane of those who wait. */
const patienceMs = 2_200;
/** What a client is told to wait: about the time of one render. */
const retryAfterSeconds = 2;

type Picture = NonNullable<Asked['picture']>;

/**
 * Finds a picture, has it made when it is not there, and waits for it as long as the request allows.
 *
 * @throws Problem `variant-failed`, `variant-not-ready` (when no fallback is wanted), or `overloaded` when too many
 * requests are being held.
 */
export async function findVariant(
  options: LazyOptions,
  request: ContentRequest,
  { row, settings }: Pick<Asked, 'row' | 'settings'>,
  picture: Picture,
): Promise<FoundVariant> {
  const { planned, name } = picture;
  const { variant } = row;
  const stale = planned !== undefined && variant?.recipe_digest !== planned.digest;

  const ready = readyVariantOf(row);
  if (ready && variant) {
    // What is there is served until its successor is.
    if (stale && variant.refused_digest !== planned.digest) {
      await options.variants.request(row.file, name, planned);
    }
    if (variant.expires_at !== null) options.variants.renew(row.file, name, variant.expires_at);
    return { kind: 'ready', row, source: ready };
  }
  const renewable = stale || variant?.failure_code === 'file-deleted';
  if (!isDecodable(row.file.mime_type) || !renewable) refuseFailed(row);
  return awaitVariant(options, request, { row, settings }, picture);
}

async function awaitVariant(
  options: LazyOptions,
  request: ContentRequest,
  { row, settings }: Pick<Asked, 'row' | 'settings'>,
  { name, planned, instead }: Picture,
): Promise<FoundVariant> {
  const { file } = row;
  await options.variants.request(file, name, planned);
  const waitMs = Math.min(request.query.wait ?? 0, options.maxWaitSeconds) * 1000;
  if (waitMs > 0) {
    const gone = request.gone();
    const hold = (milliseconds: number) => options.variants.waits.settled(file.id, name, milliseconds, gone);
    let settled = await hold(Math.min(waitMs, patienceMs));
    if (!settled && waitMs > patienceMs && !gone.aborted) {
      await options.variants.request(file, name, planned);
      settled = await hold(waitMs - patienceMs);
    }
    if (settled) {
      const fresh = await findContent(options.db, file.project_id, file.id, name);
      if (!fresh) throw new Problem('not-found');
      const source = readyVariantOf(fresh);
      if (source) return { kind: 'ready', row: fresh, source };
      refuseFailed(fresh);
    }
  }
  const other = await findOther(options.db, row, [
    ...instead.map((choice) => choice.name),
    ...earlierNames(name),
  ]);
  return other ?? fallback(request, row, settings);
}

/** Names that the picture had when its format was, or was not yet, negotiated. */
function earlierNames(name: string): readonly string[] {
  const plain = wishName(name);
  // Those first that everybody can show.
  return plain === name ? [`${plain}.jpeg`, `${plain}.png`, `${plain}.gif`, `${plain}.webp`] : [plain];
}

/** The first of these pictures that is ready. */
async function findOther(
  db: Db,
  { file }: ContentRow,
  names: readonly string[],
): Promise<FoundVariant | undefined> {
  const ready = await findReady(db, file.project_id, file.id, names);
  const name = names.find((candidate) => ready.includes(candidate));
  const row = name === undefined ? undefined : await findContent(db, file.project_id, file.id, name);
  const source = row && readyVariantOf(row);
  return source && { kind: 'other', row, source };
}

function fallback(request: ContentRequest, row: ContentRow, settings: ProjectSettings): FoundVariant {
  const wanted = request.query.fallback ?? settings.delivery.fallback;
  switch (wanted) {
    case 'original': {
      // A link for a variant is no right to the original.
      const { caller } = request.access;
      return { kind: caller.kind === 'link' ? 'placeholder' : 'original', row };
    }
    case 'placeholder':
      return { kind: 'placeholder', row };
    case 'none':
      throw new Problem('variant-not-ready', { retryAfter: retryAfterSeconds });
  }
}

function refuseFailed({ file, variant }: ContentRow): void {
  if (variant?.status === 'failed') {
    throw new Problem('variant-failed', { detail: variant.failure ?? undefined });
  }
  if (!isDecodable(file.mime_type)) {
    throw new Problem('variant-failed', {
      detail: `No variants are made of files of the type ${file.mime_type}.`,
    });
  }
}
