import Type from 'typebox';

import { Problem } from '../../../foundation/problems.js';
import { defineJob, handle, type JobHandler } from '../../../foundation/queue/define.js';
import { abandonUploads } from '../../files/upload-queries.js';
import { secondsOfAddresses } from './queries.js';
import { verifyUpload, type VerifyOptions } from './verify.js';

/** Verifies an upload whose bytes the client has sent to the store itself. */
export const verifyUploadJob = defineJob({
  name: 'verify-upload',
  payload: Type.Object({ uploadId: Type.String() }),
  lane: 'normal',
  attempts: 10,
  // 50 GiB are read through in minutes, or in an hour by a slow store.
  timeoutSeconds: 2 * 60 * 60,
});

export function createVerifyHandler(options: VerifyOptions): JobHandler {
  return handle(
    verifyUploadJob,
    async (context) => {
      const { payload, projectId, signal, log } = context;
      if (projectId === null) throw new TypeError('a verify-upload job belongs to a project');
      const id = payload.uploadId;
      try {
        const file = await verifyUpload(options, { id, project_id: projectId }, signal, (work) =>
          context.finish(work),
        );
        if (file) log.info({ fileId: file.id, uploadId: id }, 'upload verified');
      } catch (error) {
        // Refused: the upload has been given up, with the reason in its row. Anything else is tried again.
        if (!(error instanceof Problem) || error.status >= 500) throw error;
        log.info({ uploadId: id, code: error.code }, 'upload refused');
      }
    },
    async (tx, { payload: { uploadId }, projectId }, reason) => {
      if (projectId === null) return;
      await abandonUploads(tx, projectId, [uploadId], {
        code: 'service-unavailable',
        detail: `The upload could not be verified: ${reason}`,
        againAfter: await secondsOfAddresses(tx, uploadId),
      });
    },
  );
}
