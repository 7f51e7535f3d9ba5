import type { Hash } from 'node:crypto';

import { Problem } from '../../foundation/problems.js';

/**
 * Compares what was promised of the bytes with what arrived, after the last byte and before the file is
 * acknowledged.
 * @param pointer where the promise stands in the request.
 * @throws Problem `digest-mismatch`.
 */
export function checkDigest(
  pointer: string,
  algorithm: string,
  promised: Buffer | undefined,
  arrived: Buffer,
): void {
  if (promised === undefined || promised.equals(arrived)) return;
  throw new Problem('digest-mismatch', {
    detail: `The bytes that arrived have the ${algorithm} ${arrived.toString('hex')}.`,
    errors: [{ pointer, detail: `says ${promised.toString('hex')}` }],
  });
}

/** Hashes what passes. */
export async function* hashing(
  body: AsyncIterableIterator<Buffer, void, undefined>,
  hash: Hash,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of body) {
    hash.update(chunk);
    yield chunk;
  }
}
