import { LRUCache } from 'lru-cache';

import type { Db } from '../../foundation/database/connect.js';
import { isId } from '../../foundation/ids.js';
import { isOriginAllowed } from './origin-queries.js';

/** Whether pages of an origin may call a path of the API and read its answers. */
export type AllowsOrigin = (path: string, origin: string) => Promise<boolean>;

/** Milliseconds for which an answer is remembered: a page asks before each of its requests. */
const rememberedMs = 5_000;
const rememberedOrigins = 10_000;

/**
 * The origins that projects allow, on paths about them and their files. A browser asks without a credential, so whoever
 * knows an id and an origin that is allowed there can tell that the two belong together; nothing else is told.
 */
export function createAllowedOrigins(db: Db): AllowsOrigin {
  const known = new LRUCache<string, Promise<boolean>>({ max: rememberedOrigins, ttl: rememberedMs });
  return (path, origin) => {
    const [, folder, id = ''] = /^\/(projects|files)\/([^/?#]+)/.exec(path) ?? [];
    if (folder === undefined || !isId(id)) return Promise.resolve(false);
    const kind = folder === 'projects' ? 'project' : 'file';
    const key = `${id} ${origin}`;
    const before = known.get(key);
    if (before) return before;
    const asked = isOriginAllowed(db, { kind, id }, origin);
    known.set(key, asked);
    asked.catch(() => known.delete(key));
    return asked;
  };
}
