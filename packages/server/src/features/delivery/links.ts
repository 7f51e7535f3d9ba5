import { createHash, createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';

import type { Clock } from '../../foundation/clock.js';
import type { AskedRecipe } from '../../foundation/imaging/recipe.js';
import { recipeToText } from '../../foundation/imaging/vocabulary.js';
import { Problem } from '../../foundation/problems.js';
import type { Identify } from '../access/caller.js';

export interface LinksOptions {
  /** The secret that signs, then those that still verify: a rotation puts the new one in front. */
  readonly secrets: readonly [string, ...string[]];
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
  /** Seconds that a link works at least. */
  readonly lifetimeSeconds: number;
  readonly clock: Clock;
}

export interface LinkTarget {
  readonly fileId: string;
  /** Absent: the original. */
  readonly variant?: string;
  /** A picture that has no name in the settings; never beside `variant`. */
  readonly transform?: AskedRecipe;
  /** Name to download it under; absent: as the file is, shown in place where that is safe. */
  readonly download?: string;
  /** Whole seconds that the link works, to less than one more; when absent the configured lifetime, rounded up. */
  readonly expiresIn?: number;
}

export interface SignedLink {
  readonly url: string;
  /** The first moment at which it no longer works; a whole second. */
  readonly expiresAt: Date;
}

export interface Links {
  /**
   * A link that works without any other credential until it expires. Equal targets without `expiresIn` get equal
   * links for a while.
   */
  linkFor(target: LinkTarget): SignedLink;
  /** The URL of such a link. */
  urlFor(target: LinkTarget): string;
  /** Recognises such a link; see `signatureOf` for what it proves. */
  readonly identify: Identify;
}

interface SigningKey {
  /** Public name of the key, in every link: which secret to verify with. */
  readonly id: string;
  readonly key: KeyObject;
}

/**
 * Links of the configured lifetime last between one and one and a quarter of it, 15 minutes more at most: the
 * expiry is rounded up, so that a page asked for twice shows the same URLs and a browser finds its pictures in its
 * cache. Whoever asks for an expiry gets that one.
 */
const longestWindowSeconds = 15 * 60;

/** Signs and recognises links. The secrets become key objects once: importing costs more than signing. */
export function createLinks(options: LinksOptions): Links {
  const keys = options.secrets.map(signingKey);
  const [current] = keys as [SigningKey, ...SigningKey[]];

  const linkFor = (target: LinkTarget): SignedLink => {
    const now = options.clock.now() / 1000;
    const expires =
      target.expiresIn === undefined
        ? roundedExpiry(now, options.lifetimeSeconds)
        : Math.ceil(now) + target.expiresIn;
    const query: [string, string][] = [];
    if (target.variant !== undefined) query.push(['variant', target.variant]);
    for (const [name, text] of target.transform ? recipeToText(target.transform) : [])
      query.push([name, text]);
    if (target.download !== undefined) query.push(['download', target.download]);
    query.push(['exp', String(expires)]);
    query.push(['kid', current.id]);
    query.push(['sig', signatureOf(current.key, target.fileId, query)]);
    const search = new URLSearchParams(query).toString();
    return {
      url: `${options.publicUrl}/files/${target.fileId}/content?${search}`,
      expiresAt: new Date(expires * 1000),
    };
  };

  return {
    linkFor,
    urlFor: (target) => linkFor(target).url,

    async identify(request) {
      // Every request comes by here; few are links.
      if (request.raw.url?.includes('sig=') !== true) return undefined;
      const path = /^\/files\/([^/?]+)[^?]*\?(.*)$/.exec(request.raw.url);
      if (!path) return undefined;
      const [, fileId = '', search] = path;
      const query = [...new URLSearchParams(search)];
      const given = query.filter(([name]) => name === 'sig').map(([, value]) => value);
      if (given.length === 0) return undefined;

      const valueOf = (name: string) => query.find(([other]) => other === name)?.[1];
      const key = keys.find(({ id }) => id === valueOf('kid'));
      const signed = query.filter(([name]) => name !== 'sig');
      const readOnly = request.method === 'GET' || request.method === 'HEAD';
      if (
        given.length > 1 ||
        !key ||
        !readOnly ||
        !equal(given[0] ?? '', signatureOf(key.key, fileId, signed))
      ) {
        throw new Problem('forbidden', { detail: 'The signature does not fit this request.' });
      }
      if (!(Number(valueOf('exp')) * 1000 > options.clock.now())) throw new Problem('link-expired');
      return { kind: 'link', fileId, variant: valueOf('variant') ?? null };
    },
  };
}

/**
 * The signature: HMAC-SHA256, as 43 characters of base64url, over these lines joined by line feeds:
 *
 *     mbk-link-1
 *     GET                          (stands for GET and HEAD; nothing else can be signed)
 *     {fileId}
 *     {name}={value}               (every parameter of the query but `sig`, percent-encoded, in byte order)
 *
 * So it covers the file, the variant or every word of a transformation, the download name, the expiry, the key and whatever a later version adds;
 * a parameter changed, added, repeated or removed breaks it, while a proxy that sorts the query does not.
 */
export function signatureOf(
  key: KeyObject,
  fileId: string,
  query: readonly (readonly [string, string])[],
): string {
  const lines = query.map(([name, value]) => `${encode(name)}=${encode(value)}`).sort();
  const canonical = ['mbk-link-1', 'GET', fileId, ...lines].join('\n');
  return createHmac('sha256', key).update(canonical).digest('base64url');
}

function signingKey(secret: string): SigningKey {
  return {
    id: createHash('sha256').update('mbk-link-kid\n').update(secret).digest('base64url').slice(0, 8),
    key: createSecretKey(Buffer.from(secret, 'utf8')),
  };
}

/** Seconds since the epoch, as is `now`. */
function roundedExpiry(now: number, lifetimeSeconds: number): number {
  const window = Math.max(1, Math.min(longestWindowSeconds, Math.floor(lifetimeSeconds / 4)));
  return Math.ceil(now / window) * window + Math.ceil(lifetimeSeconds);
}

function encode(text: string): string {
  // Lone surrogates cannot be encoded; such a name was never signed, so what they become does not matter.
  return encodeURIComponent(text.replace(/\p{Cs}/gu, '\ufffd'));
}

/** Compares texts, not decoded bytes: the last character of base64url has bits that decoding would ignore. */
function equal(given: string, expected: string): boolean {
  const a = Buffer.from(given, 'utf8');
  const b = Buffer.from(expected, 'utf8');
  return a.length === b.length && timingSafeEqual(a, b);
}
