import type { IncomingHttpHeaders } from 'node:http';

import type { AskedRecipe } from '../../foundation/imaging/recipe.js';
import type { Access } from '../access/caller.js';
import type { ProjectSettings } from '../projects/settings.js';

/** What is sent in place of a variant that is not there yet. */
export type Fallback = ProjectSettings['delivery']['fallback'];

/** A request for bytes, freed from the HTTP framework. */
export interface ContentRequest {
  readonly method: 'GET' | 'HEAD';
  readonly headers: IncomingHttpHeaders;
  readonly access: Access;
  readonly query: ContentQuery;
  /** A signal that aborts when the client is gone; made only for those that wait, since it costs 25 µs. */
  readonly gone: () => AbortSignal;
}

export interface ContentQuery {
  readonly variant?: string;
  /** A transformation that has no name in the settings; never beside `variant`. */
  readonly transform?: AskedRecipe;
  /** A name to download under; empty, `1` or `true`: the file's own. */
  readonly download?: string;
  /** Seconds. */
  readonly wait?: number;
  readonly fallback?: Fallback;
  /** Version of the bytes, in public URLs. */
  readonly v?: string;
}
