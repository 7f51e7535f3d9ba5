import Type, { type Static, type TSchema } from 'typebox';

import { isId } from '../ids.js';
import { Problem } from '../problems.js';

/** Query members of every list: `limit` 1–100 (default 25) and the `cursor` of the page before. */
export const PageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 25 })),
  cursor: Type.Optional(Type.String({ maxLength: 200, description: '`nextCursor` of the page before.' })),
};

/** The body of a list: its items and the cursor of the next page, null on the last. */
export function pageOf<S extends TSchema>(item: S) {
  return Type.Object({
    data: Type.Array(item),
    nextCursor: Type.Union([Type.String(), Type.Null()]),
  });
}

/** A keyset page: rows in descending id order, those with an id below `after`. */
export interface Page {
  readonly limit: number;
  readonly after: string | undefined;
}

/** Reads `limit` and `cursor`; a cursor that this API did not make is refused. */
export function readPage(query: Static<Type.TObject<typeof PageQuery>>): Page {
  const limit = query.limit ?? 25;
  if (query.cursor === undefined) return { limit, after: undefined };
  const after = Buffer.from(query.cursor, 'base64url').toString('latin1');
  if (!isId(after)) {
    throw new Problem('invalid-request', {
      errors: [{ pointer: '#/query/cursor', detail: 'is not a cursor of this API' }],
    });
  }
  return { limit, after };
}

/**
 * Makes the page from up to `limit + 1` rows (the one more tells that a next page exists).
 * @returns the rows to show and the next cursor.
 */
export function cutPage<R extends { readonly id: string }>(
  rows: readonly R[],
  limit: number,
): { rows: readonly R[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    rows: shown,
    nextCursor: rows.length > limit && last ? Buffer.from(last.id, 'latin1').toString('base64url') : null,
  };
}

/**
 * The `Link` header of a page (RFC 8288); nothing on the last page. Only a query, which is resolved against the
 * request's own URL: it stays right behind a proxy that strips a part of the path.
 */
export function nextLink(url: string, nextCursor: string | null): Record<string, string> {
  if (nextCursor === null) return {};
  const [, query = ''] = url.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.set('cursor', nextCursor);
  return { link: `<?${parameters.toString()}>; rel="next"` };
}
