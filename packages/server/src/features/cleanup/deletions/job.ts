import Type from 'typebox';

import type { Db } from '../../../foundation/database/connect.js';
import { defineJob, handle, type JobHandler } from '../../../foundation/queue/define.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { trashFiles } from '../../files/queries.js';
import { findProject } from '../../projects/queries.js';
import { purgeFiles } from '../trash-queries.js';
import { countFilesOf, endDeletion, findDeletion, keepProgress, nextFiles } from './queries.js';

/** One step of the deletion of many files; each step orders the next. */
export const deleteFilesJob = defineJob({
  name: 'delete-files',
  payload: Type.Object({ deletionId: Type.String() }),
  lane: 'background',
  attempts: 5,
  timeoutSeconds: 120,
});

export interface DeletionsOptions {
  readonly db: Db;
  /** Seconds within which an attempt that is under way may still be writing its key. */
  readonly againAfter: number;
}

/** Files of one step, which is one transaction. */
const filesOfStep = 200;

export function createDeletionHandler({ db, againAfter }: DeletionsOptions): JobHandler {
  return handle(
    deleteFilesJob,
    async (context) => {
      const { projectId, payload, log } = context;
      if (projectId === null) throw new TypeError('a deletion belongs to a project');
      const { deletionId: id } = payload;
      const row = await findDeletion(db, projectId, id);
      if (row?.status !== 'running') return;
      if (!(await findProject(db, projectId))) {
        await context.finish((tx) => endDeletion(tx, { projectId, id }, 'cancelled'));
        return;
      }
      const ids = await nextFiles(db, row, filesOfStep);
      const afterId = ids.at(-1);
      if (afterId === undefined) {
        await context.finish((tx) => endDeletion(tx, { projectId, id }, 'completed'));
        log.info({ deletionId: id, files: row.files_deleted }, 'files deleted');
        return;
      }
      const total = row.files_total ?? (await countFilesOf(db, row));
      await context.finish(async (tx) => {
        const gone = row.permanent
          ? await purgeFiles(tx, projectId, ids, { againAfter })
          : await trashFiles(tx, projectId, ids);
        const notFound = row.file_ids === null ? [] : ids.filter((one) => !gone.includes(one));
        await keepProgress(tx, row, { afterId, deleted: gone.length, notFound, total });
        await enqueue(tx, deleteFilesJob, payload, { projectId });
      });
    },
    async (tx, { payload, projectId }) => {
      if (projectId !== null) await endDeletion(tx, { projectId, id: payload.deletionId }, 'failed');
    },
  );
}
