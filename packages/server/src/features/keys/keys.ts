import { LRUCache } from 'lru-cache';

import { systemClock, type Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { newId } from '../../foundation/ids.js';
import type { Log } from '../../foundation/log.js';
import { Problem } from '../../foundation/problems.js';
import type { Identify } from '../access/caller.js';
import { createProofCache } from '../access/proof-cache.js';
import { keyHash, keyMark, keyPrefix, newKey } from './key-text.js';
import { findLivingKey, insertKey, revokeKey, touchKey } from './queries.js';
import { keyRoutes, type KeyOperations } from './routes.js';

export interface KeysOptions {
  readonly db: Db;
  readonly log: Log;
  readonly clock?: Clock;
}

export interface Keys {
  readonly routes: Routes;
  readonly identify: Identify;
  /** Forgets what is remembered of keys. */
  forget(): void;
}

const minuteMs = 60_000;

/** API keys of projects. */
export function createKeys({ db, log, clock = systemClock }: KeysOptions): Keys {
  const living = createProofCache({ clock, find: (hash) => findLivingKey(db, Buffer.from(hash, 'hex')) });
  /** When this process last noted a key's use. */
  const touched = new LRUCache<string, number>({ max: 10_000 });

  /** Notes the use without making the request wait for it. */
  function touch(projectId: string, keyId: string): void {
    const now = clock.now();
    const before = touched.get(keyId);
    if (before !== undefined && now - before < minuteMs) return;
    touched.set(keyId, now);
    touchKey(db, projectId, keyId).catch((error: unknown) => {
      // The time of the last use is a help for people; nothing depends on it.
      log.warn({ err: error, keyId }, 'could not note the use of an API key');
    });
  }

  const operations: KeyOperations = {
    db,
    async create(projectId, userId, input) {
      const expiresAt = input.expiresAt === undefined ? null : new Date(input.expiresAt);
      // The format allows a leap second, which Date does not know.
      if (expiresAt && !(expiresAt.getTime() > clock.now())) {
        throw new Problem('invalid-request', {
          errors: [{ pointer: '/expiresAt', detail: 'must be a time to come' }],
        });
      }
      const key = newKey();
      const hash = keyHash(key);
      if (!hash) throw new Error('a new key fails its own check');
      const stored = await insertKey(db, projectId, {
        id: newId(),
        name: input.name.trim(),
        prefix: keyPrefix(key),
        hash,
        scopes: input.scopes ?? ['files:read', 'files:create'],
        createdBy: userId,
        expiresAt,
      });
      return { key, stored };
    },
    async revoke(projectId, keyId) {
      const hash = await revokeKey(db, projectId, keyId);
      if (!hash) throw new Problem('not-found');
      living.forget(hash.toString('hex'));
    },
  };

  return {
    routes: keyRoutes(operations),
    forget: () => living.forgetAll(),
    async identify(request) {
      const text = sentKey(request.headers);
      if (text === undefined) return undefined;
      const hash = keyHash(text);
      const found = hash && (await living.get(hash.toString('hex')));
      if (!found) {
        throw new Problem('unauthenticated', {
          detail: 'The API key is unknown, expired or revoked.',
          headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
        });
      }
      touch(found.projectId, found.keyId);
      return { kind: 'key', ...found };
    },
  };
}

/** The key among the headers. Never looked for in the URL: URLs end up in logs and histories. */
function sentKey(headers: {
  readonly authorization?: string | undefined;
  readonly 'x-api-key'?: string | string[] | undefined;
}): string | undefined {
  const bearer = /^bearer +(.*)$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer?.startsWith(keyMark)) return bearer;
  const given = headers['x-api-key'];
  return typeof given === 'string' ? given : given?.join(',');
}
