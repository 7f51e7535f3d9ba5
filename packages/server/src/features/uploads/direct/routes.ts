import type { FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';

import type { Routes } from '../../../foundation/http/app.js';
import { Problem } from '../../../foundation/problems.js';
import type { PresentFiles } from '../../files/present.js';
import type { FileRow } from '../../files/queries.js';
import { findUpload, type UploadRow } from '../../files/upload-queries.js';
import {
  abortUpload,
  beginUpload,
  completeUploadOf,
  direct,
  expiryOf,
  listParts,
  signParts,
  ways,
  type DirectOptions,
} from './operations.js';
import { findVerifying } from './queries.js';
import { signWish } from './uppy.js';
import { presentRequest, presentUpload, SignedRequestView, uploadViewSchema } from './view.js';

export interface DirectRoutesOptions extends DirectOptions {
  readonly present: PresentFiles;
  /** The schema of what `present` makes of a file. */
  readonly fileViewSchema: TSchema;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
}

const collection = '/projects/:id/uploads';
const one = `${collection}/:uploadId`;
const tags = ['direct uploads'];
const config = { permission: 'files:create' };
const closed = { additionalProperties: false };
const mostParts = 10_000;
/** Addresses of one request; each costs a signature. */
const mostNumbers = 100;

const Params = Type.Object({ id: Type.String() });
const UploadParams = Type.Object({ id: Type.String(), uploadId: Type.String({ format: 'uuid' }) });
const number = Type.Integer({ minimum: 1, maximum: mostParts });
const bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'Bytes.' });
const mediaType = Type.String({ maxLength: 255, pattern: '^[\\x20-\\x7e]+$' });

const BeginBody = Type.Object(
  {
    filename: Type.String({ minLength: 1, maxLength: 4096 }),
    size: bytes,
    type: Type.Optional(mediaType),
    sha256: Type.Optional(
      Type.String({ pattern: '^[0-9a-fA-F]{64}$', description: 'Verified before the file exists.' }),
    ),
    metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    via: Type.Optional(
      Type.Enum([...ways], {
        type: 'string',
        description: 'One PUT, one form (POST), or parts; by size when absent.',
      }),
    ),
  },
  closed,
);
const CompleteBody = Type.Optional(
  Type.Union([
    Type.Null(),
    Type.Object(
      {
        parts: Type.Optional(
          Type.Array(Type.Object({ number, etag: Type.String({ maxLength: 256 }) }, closed), {
            maxItems: mostParts,
            description: 'What the client believes to have sent; all that arrived when absent.',
          }),
        ),
      },
      closed,
    ),
  ]),
);
const SignBody = Type.Object(
  {
    method: Type.Enum(['PUT', 'POST', 'GET', 'DELETE'], { type: 'string' }),
    key: Type.String({ minLength: 1, maxLength: 4096 }),
    contentType: Type.Optional(mediaType),
    uploadId: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
    partNumber: Type.Optional(number),
    size: Type.Optional(bytes),
  },
  closed,
);
const PartView = Type.Object({ number, size: Type.Integer(), etag: Type.String() });

/** Uploads whose bytes go from the client to the store, past this server. */
export function directRoutes(options: DirectRoutesOptions): Routes {
  const { db, present, fileViewSchema, publicUrl } = options;
  const UploadView = uploadViewSchema(fileViewSchema);

  const show = async (upload: UploadRow, file?: FileRow) => {
    const row = file ?? (upload.status === 'completed' ? await findVerifying(db, upload) : undefined);
    const [view] = row ? await present(upload.project_id, [row]) : [];
    return presentUpload(upload, view);
  };
  const idOf = (request: FastifyRequest): string => (request.params as { uploadId: string }).uploadId;
  const locationOf = ({ project_id: projectId, id }: UploadRow) =>
    `${publicUrl}/projects/${projectId}/uploads/${id}`;

  return (app) => {
    app.post(
      collection,
      {
        config,
        schema: {
          operationId: 'beginUpload',
          summary: 'Begin an upload that goes to the store directly',
          description:
            'The answer says where to send the bytes. `complete` then makes the file, after it has read what really arrived.',
          tags,
          params: Params,
          body: BeginBody,
          response: { 201: UploadView },
        },
      },
      async (request, reply) => {
        const { filename, size, type, sha256, metadata, via } = request.body;
        const { projectId, caller } = request.access;
        const upload = await beginUpload(options, projectId, caller, {
          filename,
          size,
          type,
          sha256: sha256 === undefined ? undefined : Buffer.from(sha256, 'hex'),
          metadata: metadata ?? {},
        });
        const directions = await direct(options, upload, via);
        reply.code(201).header('location', locationOf(upload));
        return presentUpload(upload, undefined, directions);
      },
    );

    app.get(
      one,
      {
        config,
        schema: {
          operationId: 'getUpload',
          summary: 'How far an upload is, direct or resumable',
          tags,
          params: UploadParams,
          response: { 200: UploadView },
        },
      },
      async (request) => {
        const upload = await findUpload(db, request.access.projectId, idOf(request));
        if (!upload) throw new Problem('not-found');
        return show(upload);
      },
    );

    app.post(
      `${one}/parts`,
      {
        config,
        schema: {
          operationId: 'signUploadParts',
          summary: 'Addresses for parts of an upload',
          tags,
          params: UploadParams,
          body: Type.Object({ numbers: Type.Array(number, { minItems: 1, maxItems: mostNumbers }) }, closed),
          response: {
            200: Type.Object({
              expiresAt: Type.String({ format: 'date-time' }),
              data: Type.Array(Type.Interface([SignedRequestView], { number })),
            }),
          },
        },
      },
      async (request) => {
        const { projectId } = request.access;
        const signed = await signParts(options, projectId, idOf(request), request.body.numbers);
        return {
          expiresAt: expiryOf(options).toISOString(),
          data: signed.map((part) => ({ number: part.number, ...presentRequest(part) })),
        };
      },
    );

    app.get(
      `${one}/parts`,
      {
        config,
        schema: {
          operationId: 'listUploadParts',
          summary: 'The parts that have arrived',
          tags,
          params: UploadParams,
          response: { 200: Type.Object({ data: Type.Array(PartView) }) },
        },
      },
      async (request) => {
        const parts = await listParts(options, request.access.projectId, idOf(request));
        return { data: parts.map(({ number: n, size, etag }) => ({ number: n, size, etag })) };
      },
    );

    app.post(
      `${one}/complete`,
      {
        config,
        schema: {
          operationId: 'completeUpload',
          summary: 'Make the file of what has arrived',
          description:
            'Reads the bytes where no client can change them any more, and answers 201 with the upload and its file; above 64 MiB 202, and a job does it. Repeated, it answers the same.',
          tags,
          params: UploadParams,
          body: CompleteBody,
          response: { 200: UploadView, 201: UploadView, 202: UploadView },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const parts = request.body?.parts;
        const { upload, file } = await completeUploadOf(options, projectId, idOf(request), parts);
        reply.code(file ? 201 : upload.status === 'completed' ? 200 : 202);
        reply.header('location', file ? `${publicUrl}/files/${file.id}` : locationOf(upload));
        return show(upload, file);
      },
    );

    app.delete(
      one,
      {
        config,
        schema: {
          operationId: 'abortUpload',
          summary: 'Give an unfinished upload up',
          tags,
          params: UploadParams,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await abortUpload(options, request.access.projectId, idOf(request));
        return reply.code(204).send(null);
      },
    );

    app.post(
      `${collection}/sign`,
      {
        config,
        schema: {
          operationId: 'signUploadRequest',
          summary: 'Sign one request of a client that speaks S3 by itself',
          description:
            'What `signRequest` of `@uppy/aws-s3` needs. The first request of a file makes its upload; complete it by the `id` in the answer when the client is done.',
          tags,
          params: Params,
          body: SignBody,
          response: {
            200: Type.Object({
              id: Type.String(),
              key: Type.String(),
              url: Type.String(),
              headers: Type.Record(Type.String(), Type.String()),
              fields: Type.Optional(Type.Record(Type.String(), Type.String())),
            }),
          },
        },
      },
      async (request) => {
        const { projectId, caller } = request.access;
        return signWish(options, projectId, caller, request.body);
      },
    );
  };
}
