import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static, type TSchema } from 'typebox';

import type { Routes } from '../../foundation/http/app.js';
import { filenameOf } from '../../foundation/http/part-headers.js';
import { leaveBodiesUnread } from '../../foundation/http/unread-bodies.js';
import { Problem } from '../../foundation/problems.js';
import type { PresentFiles } from '../files/present.js';
import { takeMultipart, takeRaw, type Arrival, type IntakeOptions, type Taken } from './intake.js';
import { keyOf } from './idempotency.js';

export interface UploadRoutesOptions extends IntakeOptions {
  readonly present: PresentFiles;
  /** The schema of what `present` makes of a file. */
  readonly fileViewSchema: TSchema;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
}

/** Longest name that is read, in UTF-16 units; what is shown of it is shorter. A part's header has the same order. */
const maxNameLength = 4096;

const UploadQuery = Type.Object({
  filename: Type.Optional(
    Type.String({
      maxLength: maxNameLength,
      description: 'Name of a raw body, when no Content-Disposition gives one.',
    }),
  ),
  sha256: Type.Optional(
    Type.String({
      pattern: '^[0-9a-fA-F]{64}$',
      description: 'SHA-256 of the only file, in hexadecimal; another file is refused and not stored.',
    }),
  ),
});

const binary = { type: 'string', format: 'binary' } as const;
const RawContent = { '*/*': { schema: { ...binary, description: 'The file itself, of any type.' } } };
const FormContent = {
  'multipart/form-data': {
    schema: { type: 'object', required: ['file'], properties: { file: { type: 'array', items: binary } } },
  },
};

const aboutRaw =
  'A body of any other type is one file as it is; its name comes from Content-Disposition or `?filename=`, and Content-Digest (RFC 9530: sha-256, sha-512) is verified. `?sha256=` is verified for a raw body and for a form with one file. With Idempotency-Key a retry with the same files answers 201 with those of the first request and `Idempotency-Replayed: true`, for 24 hours.';

export function uploadRoutes(options: UploadRoutesOptions): Routes {
  const { present, fileViewSchema, publicUrl } = options;

  const isForm = (request: FastifyRequest): boolean =>
    /^multipart\/form-data[\t ]*(?:;|$)/i.test(request.headers['content-type'] ?? '');

  const answer = async (
    request: FastifyRequest,
    reply: FastifyReply,
    { files, replayed }: Taken,
  ): Promise<unknown> => {
    const views = await present(request.access.projectId, files);
    const [file] = files;
    reply.code(201).serializer((body: unknown) => JSON.stringify(body));
    reply.type('application/json; charset=utf-8');
    if (replayed) reply.header('idempotency-replayed', 'true');
    if (files.length > 1 || file === undefined) return { data: views };
    reply.headers({ location: `${publicUrl}/files/${file.id}`, etag: `"${file.version}"` });
    return views[0];
  };

  const arrivalOf = (request: FastifyRequest): Arrival => {
    const { projectId, caller } = request.access;
    const { sha256 } = queryOf(request);
    const key = request.headers['idempotency-key'];
    return {
      request: request.raw,
      projectId,
      caller,
      sha256: sha256 === undefined ? undefined : Buffer.from(sha256, 'hex'),
      idempotencyKey: keyOf(key),
    };
  };
  const raw = (request: FastifyRequest) => takeRaw(options, arrivalOf(request), nameOf(request));

  return (app) => {
    // A scope of its own: nowhere else is a body left unread.
    void app.register(async (scope) => {
      // JSON is a file like any other here.
      leaveBodiesUnread(scope);
      scope.post(
        '/projects/:id/upload',
        {
          config: { permission: 'files:create' },
          schema: {
            operationId: 'uploadFiles',
            summary: 'Upload one file or several, all or none',
            description: `Every part of a form with a file name is a file; other fields are ignored. One file answers with the file and its Location, several with a list. A problem names its part as \`#/parts/{index}\`. ${aboutRaw}`,
            tags: ['files'],
            params: Type.Object({ id: Type.String() }),
            querystring: UploadQuery,
            body: { content: { ...FormContent, ...RawContent } },
            response: {
              201: Type.Union([fileViewSchema, Type.Object({ data: Type.Array(fileViewSchema) })]),
            },
          },
        },
        async (request, reply) => {
          const taken = isForm(request)
            ? await takeMultipart(options, arrivalOf(request))
            : await raw(request);
          return answer(request, reply, taken);
        },
      );
      scope.put(
        '/projects/:id/upload',
        {
          config: { permission: 'files:create' },
          schema: {
            operationId: 'uploadRawFile',
            summary: 'Upload the body as one file',
            description:
              'The same as POST with a raw body, for clients that send files with PUT (`curl -T`). Every request makes a new file.',
            tags: ['files'],
            params: Type.Object({ id: Type.String() }),
            querystring: UploadQuery,
            body: { content: RawContent },
            response: { 201: fileViewSchema },
          },
        },
        async (request, reply) => {
          if (isForm(request)) {
            throw new Problem('unsupported-media-type', { detail: 'Send a form with POST.' });
          }
          return answer(request, reply, await raw(request));
        },
      );
    });
  };
}

/** Validated by its schema; a scope of its own loses the application's types. */
function queryOf(request: FastifyRequest): Static<typeof UploadQuery> {
  return request.query as Static<typeof UploadQuery>;
}

/** What the client calls a raw body: Content-Disposition before the query; undefined when neither names it. */
function nameOf(request: FastifyRequest): string | undefined {
  const name = filenameOf(request.headers['content-disposition']) ?? queryOf(request).filename;
  if (name !== undefined && name.length > maxNameLength) {
    throw new Problem('invalid-request', {
      detail: `A name may have ${maxNameLength} characters.`,
      errors: [{ pointer: '#/headers/content-disposition', detail: 'is too long' }],
    });
  }
  return name === '' ? undefined : name;
}
