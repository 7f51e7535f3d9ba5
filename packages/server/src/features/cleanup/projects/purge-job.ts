import Type from 'typebox';

import type { BlobStore } from '../../../foundation/blobs/blob-store.js';
import type { Db, Tx } from '../../../foundation/database/connect.js';
import { cancel } from '../../../foundation/queue/cancel.js';
import { defineJob, handle, type JobHandler } from '../../../foundation/queue/define.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { forgetMultipart } from '../../files/upload-queries.js';
import { inTransaction } from '../../projects/queries.js';
import { pauseReason, storeFault } from '../store-identity.js';
import {
  abandonSomeUploads,
  isPurged,
  multipartsOf,
  purgeSomeFiles,
  removeBelongings,
  removeProject,
} from './queries.js';

/** Removes a project with everything it holds, some at a time. */
export const purgeProjectJob = defineJob({
  name: 'purge-project',
  payload: Type.Object({ projectId: Type.String() }),
  lane: 'background',
  attempts: 20,
  timeoutSeconds: 300,
});

/** Orders the removal of a project that `purged_at` marks; it is the installation's work, and outlives the project's jobs. */
export async function orderPurge(tx: Tx, projectId: string): Promise<void> {
  await enqueue(tx, purgeProjectJob, { projectId }, { dedupeKey: projectId });
}

export interface PurgeProjectOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  /** Seconds within which somebody may still be writing a key of the project. */
  readonly againAfter: number;
}

/** Files of one transaction: some 30 ms each hundred with four variants, so that nobody waits long for a lock. */
const filesAtOnce = 200;
const rowsAtOnce = 2_000;
/** Seconds until a removal that must wait for the end of a pause asks again. */
const pausedSeconds = 10 * 60;
/** Milliseconds after which a run gives its place to other work and orders the next. */
const runMs = 60_000;

/**
 * Works through a project that is being removed: its jobs, its files with variants and tombstones, uploads with their
 * parts in the store, and what else belongs to it; its row last. Killed at any point it goes on where it was.
 */
export function createPurgeProjectHandler({ db, blobs, againAfter }: PurgeProjectOptions): JobHandler {
  return handle(purgeProjectJob, async (context) => {
    const { payload, signal, log } = context;
    const { projectId } = payload;
    if (!(await isPurged(db, projectId))) return;
    const pause = await pauseReason(db);
    if (pause !== undefined) {
      log.warn({ projectId }, pause);
      // Not a failure: twenty of them would end the removal for good.
      await context.finish((tx) =>
        enqueue(tx, purgeProjectJob, { projectId }, { dedupeKey: projectId, afterSeconds: pausedSeconds }),
      );
      return;
    }
    await inTransaction(db, (tx) => cancel(tx, { projectId }));
    const until = performance.now() + runMs;
    let files = 0;
    // False when there is more to do than this run has time for.
    const all = async (step: () => Promise<number>, atOnce: number): Promise<boolean> => {
      for (;;) {
        signal.throwIfAborted();
        const done = await step();
        if (done < atOnce) return true;
        if (performance.now() > until) return false;
      }
    };
    const whole =
      (await all(async () => {
        const count = await inTransaction(db, (tx) =>
          abandonSomeUploads(tx, projectId, filesAtOnce, againAfter),
        );
        return count;
      }, filesAtOnce)) &&
      (await all(async () => {
        const count = await inTransaction(db, (tx) =>
          purgeSomeFiles(tx, projectId, filesAtOnce, { againAfter }),
        );
        files += count;
        return count;
      }, filesAtOnce));
    if (whole) {
      const fault = await storeFault({ db, blobs });
      if (fault !== undefined) throw new Error(fault);
      for (const { id, key, multipartId } of await multipartsOf(db, projectId, rowsAtOnce)) {
        signal.throwIfAborted();
        await blobs.multipart.abort(key, multipartId);
        await forgetMultipart(db, id);
      }
    }
    const empty =
      whole && (await all(async () => ((await removeBelongings(db, projectId, rowsAtOnce)) > 0 ? 1 : 0), 1));
    if (files > 0) log.info({ projectId, files }, 'files of a deleted project are gone');
    const gone = await context.finish(async (tx) => {
      if (empty && (await removeProject(tx, projectId))) return true;
      await enqueue(tx, purgeProjectJob, { projectId }, { dedupeKey: projectId, afterSeconds: 1 });
      return false;
    });
    if (gone) log.info({ projectId }, 'a deleted project is gone');
  });
}
