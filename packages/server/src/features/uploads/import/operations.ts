import { createHash } from 'node:crypto';

import type { Db } from '../../../foundation/database/connect.js';
import { OutboundRefused } from '../../../foundation/http/outbound/failures.js';
import type { Outbound } from '../../../foundation/http/outbound/outbound.js';
import { newId } from '../../../foundation/ids.js';
import { Problem } from '../../../foundation/problems.js';
import { cancel } from '../../../foundation/queue/cancel.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import type { Caller } from '../../access/caller.js';
import { checkMetadata } from '../../files/metadata.js';
import { cleanFilename } from '../../files/names.js';
import { inTransaction } from '../../projects/queries.js';
import { creatorOf } from '../creator.js';
import { importFileJob } from './job.js';
import {
  countUnfinished,
  findImport,
  findImportByKey,
  insertImport,
  removeImport,
  type ImportRow,
  type NewImport,
} from './queries.js';

export interface ImportOptions {
  readonly db: Db;
  readonly outbound: Pick<Outbound, 'checkUrl'>;
}

/** What a client wants to have fetched. */
export interface Order {
  readonly url: string;
  readonly filename: string | undefined;
  /** Hexadecimal. */
  readonly sha256: string | undefined;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
}

/** An import that the client has ordered, now or, `replayed`, when it first asked under its key. */
export interface Ordered {
  readonly row: ImportRow;
  readonly replayed: boolean;
}

/** Imports of one project that wait or run; the queue is not a place to keep a million addresses. */
const mostUnfinished = 1000;

/**
 * Orders an import: a row and its job. What the URL says by itself is judged here, what its host is when it is fetched.
 * @throws Problem `import-refused`, `too-many-requests`, `idempotency-key-reused`.
 */
export async function orderImport(
  { db, outbound }: ImportOptions,
  projectId: string,
  caller: Caller,
  order: Order,
  idempotencyKey: string | undefined,
): Promise<Ordered> {
  const { filename, sha256, metadata = {} } = order;
  const url = urlOf(order.url, outbound);
  checkMetadata(metadata);
  const entry: NewImport = {
    id: newId(),
    projectId,
    url: url.href,
    shownUrl: url.origin + url.pathname,
    filename: filename === undefined ? null : cleanFilename(filename),
    sha256: sha256 === undefined ? null : Buffer.from(sha256, 'hex'),
    metadata,
    createdBy: creatorOf(caller),
    key: idempotencyKey === undefined ? undefined : { text: idempotencyKey, digest: digestOf(url, order) },
  };
  const row = await inTransaction(db, async (tx) => {
    const inserted = await insertImport(tx, entry);
    if (!inserted) return undefined;
    if ((await countUnfinished(tx, projectId, mostUnfinished + 1)) > mostUnfinished) {
      throw new Problem('too-many-requests', {
        detail: `A project may have ${mostUnfinished} imports under way.`,
        limit: mostUnfinished,
        retryAfter: 60,
      });
    }
    await enqueue(tx, importFileJob, { importId: entry.id }, { projectId, dedupeKey: entry.id });
    return inserted;
  });
  return row ? { row, replayed: false } : { row: await replay(db, entry), replayed: true };
}

/**
 * Cancels an import that has not ended; nothing of it stays.
 * @throws Problem `not-found`; `conflict` when it has ended.
 */
export async function cancelImport(
  { db }: Pick<ImportOptions, 'db'>,
  projectId: string,
  importId: string,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    // Waits for an attempt that is just completing it.
    if (await removeImport(tx, projectId, importId)) {
      await cancel(tx, { kind: importFileJob, dedupeKey: importId });
      return;
    }
    const ended = await findImport(tx, projectId, importId);
    if (!ended) throw new Problem('not-found');
    throw new Problem('conflict', { detail: `The import has ${ended.status} already.` });
  });
}

/**
 * Whether a caller may know of an import. A key that may only upload sees what it has begun itself, by its id; it
 * sees no list, because one such key often stands in a page that many people load.
 */
export function maySee(caller: Caller, { created_by_key: keyId }: ImportRow): boolean {
  if (caller.kind !== 'key') return true;
  return caller.scopes.some((scope) => scope === 'files:read' || scope === 'files:write')
    ? true
    : keyId === caller.keyId;
}

function urlOf(text: string, outbound: Pick<Outbound, 'checkUrl'>): URL {
  if (!URL.canParse(text)) {
    throw new Problem('invalid-request', {
      detail: 'The url is no URL.',
      errors: [{ pointer: '/url', detail: 'is no absolute URL' }],
    });
  }
  const url = new URL(text);
  url.hash = '';
  try {
    outbound.checkUrl(url);
  } catch (error) {
    if (!(error instanceof OutboundRefused)) throw error;
    throw new Problem('import-refused', {
      detail: error.message,
      errors: [{ pointer: '/url', detail: error.message }],
    });
  }
  return url;
}

/** Two requests under one key are the same when this is. */
function digestOf(url: URL, { filename, sha256, metadata }: Order): Buffer {
  const text = JSON.stringify([url.href, filename ?? null, sha256?.toLowerCase() ?? null, metadata ?? null]);
  return createHash('sha256').update(text).digest();
}

async function replay(db: Db, { projectId, key }: NewImport): Promise<ImportRow> {
  const first = key && (await findImportByKey(db, projectId, key.text));
  // Cancelled in this very moment.
  if (!first) throw new Problem('conflict', { detail: 'Try again.', retryAfter: 1 });
  if (!key.digest.equals(first.request_digest ?? Buffer.alloc(0)))
    throw new Problem('idempotency-key-reused');
  return first;
}
