import Type from 'typebox';

import { defineJob, handle, type JobHandler } from '../../../foundation/queue/define.js';
import { Problem } from '../../../foundation/problems.js';
import { abandonUploads } from '../../files/upload-queries.js';
import { finishUpload, type FinishOptions } from './finish.js';
import { lateWriteSeconds } from './queries.js';

/** Finishes an upload whose bytes have all arrived, when the request that brought the last one could not. */
export const finishUploadJob = defineJob({
  name: 'finish-upload',
  payload: Type.Object({ uploadId: Type.String() }),
  lane: 'normal',
  attempts: 10,
  // 50 GiB are read through in minutes, or in an hour by a slow store.
  timeoutSeconds: 2 * 60 * 60,
});

export function createFinishHandler(options: FinishOptions): JobHandler {
  return handle(
    finishUploadJob,
    async (context) => {
      const { payload, projectId, log } = context;
      const id = payload.uploadId;
      if (projectId === null) throw new TypeError('a finish-upload job belongs to a project');
      try {
        const file = await finishUpload(options, { id, project_id: projectId }, undefined, (work) =>
          context.finish(work),
        );
        if (file) log.info({ fileId: file.id, uploadId: id }, 'upload finished');
      } catch (error) {
        // The upload has been given up, with the reason in its row.
        if (!(error instanceof Problem)) throw error;
        log.info({ uploadId: id, code: error.code }, 'upload refused at its end');
      }
    },
    async (tx, { payload: { uploadId }, projectId }, reason) => {
      if (projectId === null) return;
      await abandonUploads(tx, projectId, [uploadId], {
        code: 'service-unavailable',
        detail: `The upload could not be finished: ${reason}`,
        againAfter: lateWriteSeconds,
      });
    },
  );
}
