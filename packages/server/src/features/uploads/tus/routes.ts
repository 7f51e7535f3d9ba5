import type { FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';

import type { Routes } from '../../../foundation/http/app.js';
import { leaveBodiesUnread } from '../../../foundation/http/unread-bodies.js';
import { Problem } from '../../../foundation/problems.js';
import {
  appendToUpload,
  createUpload,
  describeUpload,
  terminateUpload,
  type TusAnswer,
  type TusOptions,
} from './operations.js';
import { offsetType, tusChecksumAlgorithms, tusExtensions, tusVersion } from './protocol.js';

const collection = '/projects/:id/tus';
const one = `${collection}/:uploadId`;
const tags = ['resumable uploads'];
const config = { permission: 'files:create' };
const Params = Type.Object({ id: Type.String() });
const UploadParams = Type.Object({ id: Type.String(), uploadId: Type.String({ format: 'uuid' }) });
const bytes = { content: { [offsetType]: { schema: { type: 'string', format: 'binary' } } } };
const nothing = (description: string) => ({ description, type: 'null' });

/**
 * The tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload) with the extensions creation,
 * creation-with-upload, creation-defer-length, termination, checksum and expiration.
 */
export function tusRoutes(options: TusOptions): Routes {
  const discovery = {
    'tus-version': tusVersion,
    'tus-extension': tusExtensions,
    'tus-checksum-algorithm': tusChecksumAlgorithms,
    'tus-max-size': String(options.limits.maxBytes),
  };

  const send = (reply: FastifyReply, { status, headers }: TusAnswer) =>
    reply.code(status).headers(headers).send();
  const about = (request: FastifyRequest): [TusOptions, FastifyRequest['raw'], string, string] => [
    options,
    request.raw,
    request.access.projectId,
    (request.params as { uploadId: string }).uploadId,
  ];
  const operations = { PATCH: appendToUpload, HEAD: describeUpload, DELETE: terminateUpload };

  return (app) => {
    void app.register(async (scope) => {
      leaveBodiesUnread(scope);
      // Refusals bear it too, whoever makes them.
      scope.addHook('onSend', async (request, reply) => {
        reply.header('tus-resumable', tusVersion);
        if (request.method === 'OPTIONS') reply.headers(discovery);
      });
      for (const url of [collection, one]) {
        scope.options(
          url,
          {
            // A preflight is answered by the CORS plugin; without one the question is what the server can do.
            config: { permission: 'anyone', cors: { strictPreflight: false } },
            schema: { hide: true },
          },
          async (_request, reply) => reply.code(204).send(),
        );
      }
      scope.post(
        collection,
        {
          config,
          schema: {
            operationId: 'createResumableUpload',
            summary: 'Begin a resumable upload (tus 1.0.0)',
            description:
              '`Upload-Length` or `Upload-Defer-Length: 1`; `Upload-Metadata` may name `filename`, `filetype` and a `sha256` that is verified, and anything else becomes the file’s metadata. The first bytes may come along.',
            tags,
            params: Params,
            body: bytes,
            response: { 201: nothing('The upload is at `Location`.') },
          },
        },
        async (request, reply) => {
          const { projectId, caller } = request.access;
          return send(reply, await createUpload(options, request.raw, projectId, caller));
        },
      );
      scope.head(
        one,
        {
          config,
          schema: {
            operationId: 'describeResumableUpload',
            summary: 'Where a resumable upload goes on',
            description: '`X-File-Id` names the file once it exists.',
            tags,
            params: UploadParams,
            response: { 200: nothing('`Upload-Offset` bytes have arrived.') },
          },
        },
        async (request, reply) => send(reply, await describeUpload(...about(request))),
      );
      scope.patch(
        one,
        {
          config,
          schema: {
            operationId: 'appendToResumableUpload',
            summary: 'Append bytes to a resumable upload',
            description:
              'What arrived before a connection broke is kept. `X-File-Id` names the file when the last byte has made one.',
            tags,
            params: UploadParams,
            body: bytes,
            response: { 204: nothing('`Upload-Offset` bytes have arrived.') },
          },
        },
        async (request, reply) => send(reply, await appendToUpload(...about(request))),
      );
      scope.delete(
        one,
        {
          config,
          schema: {
            operationId: 'terminateResumableUpload',
            summary: 'Give an unfinished resumable upload up',
            tags,
            params: UploadParams,
            response: { 204: nothing('It is gone.') },
          },
        },
        async (request, reply) => send(reply, await terminateUpload(...about(request))),
      );
      // For clients that can send nothing but GET and POST; all of these need the same permission.
      scope.post(one, { config, schema: { hide: true, params: UploadParams } }, async (request, reply) => {
        const method = request.headers['x-http-method-override']?.toString().toUpperCase();
        if (method !== 'PATCH' && method !== 'HEAD' && method !== 'DELETE') {
          throw new Problem('method-not-allowed', {
            detail: 'This path answers PATCH, HEAD and DELETE.',
            headers: { allow: 'PATCH, HEAD, DELETE' },
          });
        }
        return send(reply, await operations[method](...about(request)));
      });
    });
  };
}
