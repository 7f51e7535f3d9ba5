import { createHash } from 'node:crypto';

import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';
import { acknowledgedOf } from '../files/intake-queries.js';
import { cleanFilename } from '../files/names.js';
import type { FileRow } from '../files/queries.js';
import { claimKey, type Brought } from '../files/upload-key-queries.js';
import type { ActiveUpload } from './active.js';
import type { Policy } from './policy.js';
import type { IncomingFile } from './receive.js';

/** A file whose bytes have passed. */
export interface Passed {
  /** As it is shown. */
  readonly filename: string;
  readonly sha256: Buffer;
}

/** Seconds after which a client asks again for a key that another request holds. */
const busySeconds = 2;

/**
 * Reads an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a string in quotes, or, as most clients
 * send it, without them; both are the same key.
 * @throws Problem `invalid-request` for anything but 1–255 printable characters of ASCII.
 */
export function keyOf(field: string | string[] | undefined): string | undefined {
  if (field === undefined) return undefined;
  const text = field.toString();
  const key = /^"((?:[^"\\]|\\["\\])*)"$/.exec(text)?.[1]?.replace(/\\(.)/g, '$1') ?? text;
  if (/^[\x20-\x7e]{1,255}$/.test(key)) return key;
  throw new Problem('invalid-request', {
    detail: 'An Idempotency-Key has 1 to 255 printable characters.',
    errors: [{ pointer: '#/headers/idempotency-key', detail: 'has 1 to 255 printable characters' }],
  });
}

export interface HoldOptions {
  readonly db: Db;
  /** Silence after which the request that holds a key is taken for dead. */
  readonly uploadStaleSeconds: number;
  /** Seconds for which a completed key is remembered. */
  readonly uploadKeysSeconds: number;
}

/**
 * Takes the key for an upload, whose heartbeat then keeps it.
 * @returns what an earlier request has brought under it; undefined when this one is the first.
 * @throws Problem `conflict` while another request holds it.
 */
export async function hold(
  { db, uploadStaleSeconds, uploadKeysSeconds }: HoldOptions,
  upload: ActiveUpload,
  { id: projectId }: { readonly id: string },
  key: string,
): Promise<Brought | undefined> {
  const held = { projectId, key, attempt: newId() };
  const claimed = await claimKey(db, held, {
    staleSeconds: uploadStaleSeconds,
    lifetimeSeconds: uploadKeysSeconds,
  });
  if (claimed === 'busy') {
    throw new Problem('conflict', {
      detail: 'Another request with this Idempotency-Key is under way.',
      retryAfter: busySeconds,
    });
  }
  if (claimed !== 'held') return claimed;
  upload.held = held;
  return undefined;
}

/** Passes a file without storing it. */
export async function hashFile(policy: Policy, { filename, body }: IncomingFile): Promise<Passed> {
  const hash = createHash('sha256');
  let count = 0;
  for (let next = await body.next(); next.done !== true; next = await body.next()) {
    count += next.value.length;
    policy.checkSize(count);
    hash.update(next.value);
  }
  return { filename: cleanFilename(filename), sha256: hash.digest() };
}

/** What is remembered of files: names and bytes, in their order. */
export function broughtBy(files: readonly (Passed & { readonly row: FileRow })[]): Brought {
  return { digest: digestOf(files), fileIds: files.map(({ row }) => row.id) };
}

/**
 * The files that were brought first, when a retry carries the same.
 * @throws Problem `idempotency-key-reused` when it does not; `conflict` when a file has been deleted since.
 */
export async function replay(
  db: Db,
  projectId: string,
  { digest, fileIds }: Brought,
  again: readonly Passed[],
): Promise<readonly FileRow[]> {
  if (!digestOf(again).equals(digest)) throw new Problem('idempotency-key-reused');
  const rows = await acknowledgedOf(db, projectId, fileIds);
  const files = fileIds.flatMap((id) => rows.find((row) => row.id === id && row.deleted_at === null) ?? []);
  if (files.length === fileIds.length) return files;
  throw new Problem('conflict', {
    detail:
      'What was uploaded under this Idempotency-Key has been deleted. Use another key to upload it again.',
  });
}

function digestOf(files: readonly Passed[]): Buffer {
  const hash = createHash('sha256');
  // No shown name holds a line break.
  for (const { filename, sha256 } of files) hash.update(`${sha256.toString('hex')} ${filename}\n`);
  return hash.digest();
}
