import { LRUCache } from 'lru-cache';

import { systemClock, type Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { newId } from '../../foundation/ids.js';
import type { Log } from '../../foundation/log.js';
import { isOrigin } from '../../foundation/http/origin.js';
import { Problem, type FieldError } from '../../foundation/problems.js';
import type { Identify } from '../access/caller.js';
import { createProofCache } from '../access/proof-cache.js';
import { holdsKey, keyHash, keyMark, keyPrefix, newKey } from './key-text.js';
import { isNetwork, misuse } from './origin-rules.js';
import {
  findLivingKey,
  insertKey,
  revokeKey,
  rotateKey,
  touchKey,
  updateKey,
  type KeyRules,
} from './queries.js';
import { keyRoutes, type KeyInput, type KeyOperations } from './routes.js';

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
  function touch(projectId: string, keyId: string, address: string): void {
    const now = clock.now();
    const before = touched.get(keyId);
    if (before !== undefined && now - before < minuteMs) return;
    touched.set(keyId, now);
    touchKey(db, projectId, keyId, address).catch((error: unknown) => {
      // The time of the last use is a help for people; nothing depends on it.
      log.warn({ err: error, keyId }, 'could not note the use of an API key');
    });
  }

  function expiry(text: string | null | undefined): Date | null | undefined {
    if (text === undefined || text === null) return text;
    const expiresAt = new Date(text);
    // The format allows a leap second, which Date does not know.
    if (expiresAt.getTime() > clock.now()) return expiresAt;
    throw invalid([{ pointer: '/expiresAt', detail: 'must be a time to come' }]);
  }

  const operations: KeyOperations = {
    db,
    async create(projectId, userId, input) {
      checkRules(input);
      const expiresAt = expiry(input.expiresAt) ?? null;
      const { key, hash } = freshKey();
      const stored = await insertKey(db, projectId, {
        ...noRules,
        ...rulesOf(input),
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
    async change(projectId, keyId, { name, scopes, enabled, ...input }) {
      checkRules(input);
      const expiresAt = expiry(input.expiresAt);
      const stored = await updateKey(db, projectId, keyId, {
        ...rulesOf(input),
        ...(name === undefined ? {} : { name: name.trim() }),
        ...(scopes === undefined ? {} : { scopes }),
        ...(enabled === undefined ? {} : { enabled }),
        ...(expiresAt === undefined ? {} : { expiresAt }),
      });
      if (!stored) throw new Problem('not-found');
      living.forgetAll();
      return stored;
    },
    async rotate(projectId, keyId, overlapSeconds) {
      const { key, hash } = freshKey();
      const stored = await rotateKey(db, projectId, keyId, { hash, prefix: keyPrefix(key), overlapSeconds });
      if (!stored) throw new Problem('not-found');
      living.forgetAll();
      return { key, stored };
    },
    async revoke(projectId, keyId) {
      if (!(await revokeKey(db, projectId, keyId))) throw new Problem('not-found');
      living.forgetAll();
    },
  };

  return {
    routes: keyRoutes(operations),
    forget: () => living.forgetAll(),
    async identify(request) {
      if (holdsKey(request.url)) {
        throw new Problem('unauthenticated', {
          detail:
            'An API key stands in the URL, where logs and histories keep it. Rotate it, and send it in a header.',
        });
      }
      const text = sentKey(request.headers);
      if (text === undefined) return undefined;
      const hash = keyHash(text);
      const found = hash && (await living.get(hash.toString('hex')));
      if (!found) {
        throw new Problem('unauthenticated', {
          detail: 'The API key is unknown, expired, disabled or revoked.',
          headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
        });
      }
      const { keyId, projectId, scopes } = found;
      const detail = misuse(found, { origin: request.headers.origin, address: request.ip });
      if (detail !== undefined) throw new Problem('forbidden', { detail });
      touch(projectId, keyId, request.ip);
      return { kind: 'key', keyId, projectId, scopes };
    },
  };
}

const noRules: KeyRules = {
  allowedOrigins: null,
  allowedAddresses: null,
  maxFileBytes: null,
  maxFiles: null,
  allowedTypes: null,
};

/** The rules among the input; what is not given is absent. */
function rulesOf(input: Partial<KeyRules>): Partial<KeyRules> {
  const names = Object.keys(noRules) as (keyof KeyRules)[];
  return Object.fromEntries(
    names.filter((name) => input[name] !== undefined).map((name) => [name, input[name]]),
  );
}

function freshKey(): { readonly key: string; readonly hash: Buffer } {
  const key = newKey();
  const hash = keyHash(key);
  if (!hash) throw new Error('a new key fails its own check');
  return { key, hash };
}

/** What no JSON Schema can say of origins and networks. */
function checkRules({ allowedOrigins, allowedAddresses }: Partial<Pick<KeyInput, keyof KeyRules>>): void {
  const faults: FieldError[] = [];
  const judge = (
    name: string,
    list: readonly string[] | null | undefined,
    fits: (item: string) => boolean,
    what: string,
  ) => {
    for (const [index, item] of (list ?? []).entries()) {
      if (!fits(item)) faults.push({ pointer: `/${name}/${index}`, detail: `is no ${what}` });
    }
  };
  judge('allowedOrigins', allowedOrigins, isOrigin, 'origin such as https://app.example.com');
  judge('allowedAddresses', allowedAddresses, isNetwork, 'IP address or network such as 10.0.0.0/8');
  if (faults.length > 0) throw invalid(faults);
}

function invalid(errors: readonly FieldError[]): Problem {
  return new Problem('invalid-request', { errors });
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
