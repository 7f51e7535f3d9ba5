import Type from 'typebox';

import type { Routes } from '../../../../foundation/http/app.js';
import { leaveBodiesUnread } from '../../../../foundation/http/unread-bodies.js';
import { stagingPath } from '../signer.js';
import { receiveStaged, type StagingOptions } from './receive.js';

/** Any text: the signature says whether it is an id of ours. */
const Params = Type.Object({ uploadId: Type.String() });

/**
 * Our own signed addresses, for stores that have none (disk): the signature is the permission. They speak the part of
 * S3 that its clients use to upload.
 */
export function stagingRoutes(options: StagingOptions): Routes {
  return (app) => {
    void app.register(async (scope) => {
      leaveBodiesUnread(scope);
      for (const method of ['GET', 'PUT', 'POST', 'DELETE'] as const) {
        scope.route({
          method,
          url: `${stagingPath}/:uploadId`,
          config: { permission: 'uploads:signed' },
          exposeHeadRoute: false,
          schema: { hide: true, params: Params },
          handler: async (request, reply) => {
            const { uploadId } = request.params as { uploadId: string };
            const query = [...new URLSearchParams(request.raw.url?.split('?', 2)[1] ?? '')];
            const answer = await receiveStaged(options, request.raw, uploadId, query);
            return reply.code(answer.status).headers(answer.headers).send(answer.body);
          },
        });
      }
    });
  };
}
