import { Problem } from '../problems.js';

/** Bytes of a digest, by the algorithms that are checked here (RFC 9530 §5: the two that are not deprecated). */
const digestLengths = { 'sha-256': 32, 'sha-512': 64 } as const;

export type DigestAlgorithm = keyof typeof digestLengths;

/**
 * One member of the dictionary with its comma (RFC 8941 §3.2): a key, a byte sequence, parameters without a meaning.
 * Sticky, so that the field is read once; every repetition ends at a character that the next piece begins with.
 */
const member =
  /([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):((?:; *[a-z*][a-z0-9_.*-]*(?:=[^\s",;]+)?)*)[ \t]*(,[ \t]*|$)/y;

/**
 * Reads `Content-Digest: sha-256=:…:, sha-512=:…:` (RFC 9530 §2). Algorithms that are not known are ignored, as the
 * RFC asks; of a repeated one the last counts (RFC 8941 §4.2.2).
 * @throws Problem `invalid-request` for what is no such dictionary, or a digest of a wrong length.
 */
export function parseContentDigest(field: string | undefined): ReadonlyMap<DigestAlgorithm, Buffer> {
  const digests = new Map<DigestAlgorithm, Buffer>();
  const value = (field ?? '').replace(/^ +/, '');
  let more = false;
  for (let at = 0; at < value.length; at = member.lastIndex) {
    member.lastIndex = at;
    const [, key = '', encoded = '', , comma = ''] = member.exec(value) ?? [];
    if (key === '') throw malformed('is no dictionary of byte sequences');
    more = comma !== '';
    if (!isKnown(key)) continue;
    const digest = Buffer.from(encoded, 'base64');
    if (digest.length !== digestLengths[key]) {
      throw malformed(`gives a ${key} of ${digest.length} bytes; it has ${digestLengths[key]}`);
    }
    digests.set(key, digest);
  }
  if (more) throw malformed('ends with a comma');
  return digests;
}

function isKnown(key: string): key is DigestAlgorithm {
  return Object.hasOwn(digestLengths, key);
}

function malformed(what: string): Problem {
  return new Problem('invalid-request', {
    detail: `Content-Digest ${what}.`,
    errors: [{ pointer: '#/headers/content-digest', detail: what }],
  });
}
