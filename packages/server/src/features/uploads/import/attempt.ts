import type { Outbound } from '../../../foundation/http/outbound/outbound.js';
import { OutboundFailed } from '../../../foundation/http/outbound/failures.js';
import { newId } from '../../../foundation/ids.js';
import { Problem } from '../../../foundation/problems.js';
import { handle, LeaseLost, type JobContext, type JobHandler } from '../../../foundation/queue/define.js';
import { findProject, type Project } from '../../projects/queries.js';
import type { ActiveUpload, ActiveUploads } from '../active.js';
import { checkDigest } from '../digests.js';
import { abandon, receptionOf, settleReceived, type EntryOptions } from '../entry.js';
import { receiveFile } from '../receive.js';
import { importFileJob } from './job.js';
import {
  completeImport,
  failImport,
  giveUpImport,
  holdImport,
  ImportLost,
  keepProgress,
  putBackImport,
  type Holding,
  type ImportRow,
} from './queries.js';
import { sourceName } from './source-name.js';
import { verdictOf } from './verdict.js';

export interface AttemptOptions extends EntryOptions {
  readonly outbound: Outbound;
  readonly active: ActiveUploads;
  /** Longest time of one attempt in milliseconds. */
  readonly timeoutMs: number;
}

type Context = JobContext<typeof importFileJob.payload>;

/** Milliseconds between two notes of how far an import is. */
const noteEveryMs = 1000;

/**
 * Fetches what an import names and takes it in as any upload: the same reception, the same policy. Ends with one
 * transaction of file, import and job, fenced by the lease. A refusal ends the import at once; what may pass is tried
 * again, and leaves nothing behind meanwhile.
 */
export function createImportHandler(options: AttemptOptions): JobHandler {
  return handle(
    importFileJob,
    (context) => runAttempt(options, context),
    async (tx, { payload: { importId }, projectId }) => {
      if (projectId === null) return;
      await giveUpImport(tx, projectId, importId, {
        code: 'service-unavailable',
        detail: 'The import was broken off again and again.',
      });
    },
  );
}

async function runAttempt(options: AttemptOptions, context: Context): Promise<void> {
  const { db, active } = options;
  const { payload, projectId, signal } = context;
  if (projectId === null) throw new TypeError('an import-file job belongs to a project');
  signal.throwIfAborted();
  const holding: Holding = { id: payload.importId, projectId, attempt: newId() };
  const row = await holdImport(db, holding);
  // Cancelled, or completed by an attempt whose end was not heard of.
  if (!row) return;

  const upload = active.begin();
  const stop = (): void => upload.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  const limit = setTimeout(() => upload.abort(tookTooLong(options.timeoutMs)), options.timeoutMs);
  try {
    if (signal.aborted) stop();
    const project = await findProject(db, projectId);
    if (!project) throw new Problem('not-found');
    await fetchFile(options, context, { holding, row, project, upload });
  } catch (error) {
    const reason: unknown = upload.signal.aborted ? upload.signal.reason : error;
    // Wakes whatever still waits for the source.
    upload.abort(reason);
    await abandon(options, projectId, upload);
    await conclude(options, context, holding, reason);
  } finally {
    clearTimeout(limit);
    signal.removeEventListener('abort', stop);
    upload.end();
  }
}

interface Fetch {
  readonly holding: Holding;
  readonly row: ImportRow;
  readonly project: Project;
  readonly upload: ActiveUpload;
}

async function fetchFile(options: AttemptOptions, context: Context, fetch: Fetch): Promise<void> {
  const { db, outbound } = options;
  const { holding, row, project, upload } = fetch;
  if (row.url === null) throw new TypeError(`the import ${row.id} has lost its URL`);
  const asked = new URL(row.url);
  const creator = {
    ...(row.created_by_user === null ? {} : { userId: row.created_by_user }),
    ...(row.created_by_key === null ? {} : { keyId: row.created_by_key }),
  };
  const reception = await receptionOf(options, project, creator, upload);
  const download = await outbound.download(asked, upload.signal);
  try {
    const { length } = download;
    if (length !== undefined) reception.policy.checkSize(length);
    await keepProgress(db, holding, { received: 0, total: length ?? null });
    const received = await receiveFile(reception, {
      filename: row.filename ?? sourceName(download, asked),
      declaredType: download.header('content-type'),
      body: noting(download.body, (count) =>
        keepProgress(db, holding, { received: count, total: length ?? null }),
      ),
      expectedBytes: length,
      metadata: row.metadata as Readonly<Record<string, unknown>>,
    });
    checkDigest('/sha256', 'SHA-256', row.sha256 ?? undefined, received.sha256);
    upload.beating.clear();
    await context.finish(async (tx) => {
      // First: a cancellation under way is waited for before the counter of the project is locked.
      await completeImport(tx, holding, { id: received.row.id, size: received.size });
      await settleReceived(tx, options, project, [received]);
    });
    context.log.info({ importId: row.id, fileId: received.row.id, bytes: received.size }, 'file imported');
  } finally {
    await download.close();
  }
}

/** Tells about once a second how many bytes have passed. */
async function* noting(
  body: AsyncIterable<Buffer>,
  note: (count: number) => Promise<void>,
): AsyncGenerator<Buffer, void, undefined> {
  let count = 0;
  let noted = performance.now();
  for await (const chunk of body) {
    count += chunk.length;
    if (performance.now() - noted >= noteEveryMs) {
      noted = performance.now();
      await note(count);
    }
    yield chunk;
  }
}

/** Writes down how an attempt has failed; throws what the queue is to know of it. */
async function conclude(
  { db }: AttemptOptions,
  context: Context,
  holding: Holding,
  reason: unknown,
): Promise<void> {
  // Whoever holds the import now goes on with it; a cancelled one is gone.
  if (reason instanceof LeaseLost || reason instanceof ImportLost) throw reason;
  const stopped = context.signal.aborted;
  const verdict = verdictOf(reason);
  const { code, passing, expected } = verdict;
  if (!stopped && (!passing || (context.lastAttempt && expected))) {
    context.log.info({ importId: holding.id, code }, 'an import failed');
    await context.finish((tx) => failImport(tx, holding, verdict));
    return;
  }
  await putBackImport(db, holding, stopped ? undefined : verdict).catch((error: unknown) => {
    // The next attempt takes it all the same.
    context.log.warn({ err: error, importId: holding.id }, 'a failed attempt could not let go of its import');
  });
  throw reason;
}

function tookTooLong(ms: number): OutboundFailed {
  return new OutboundFailed(`The import took longer than ${Math.round(ms / 1000)} seconds.`, {
    passing: false,
  });
}
