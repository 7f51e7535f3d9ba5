import { Readable } from 'node:stream';

import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';

import type { Routes } from '../../foundation/http/app.js';
import { fallbacks } from '../projects/settings.js';
import { openBytes } from './bytes.js';
import { answerContent, type ContentOptions } from './content.js';
import { readTransform, transformParameters } from './transform.js';

const ContentParams = Type.Object({ id: Type.String() });

const ContentQuery = Type.Object(
  {
    ...transformParameters,
    variant: Type.Optional(
      Type.String({ maxLength: 64, description: 'Name of a variant; the original when absent.' }),
    ),
    download: Type.Optional(
      Type.String({
        maxLength: 255,
        description: 'Send as an attachment of this name; empty, `1` or `true`: of the file’s own name.',
      }),
    ),
    wait: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 3600,
        description: 'Seconds to wait for a variant that is not ready.',
      }),
    ),
    fallback: Type.Optional(
      Type.Enum([...fallbacks], {
        type: 'string',
        description: 'What to send while the variant is not ready; the project’s setting when absent.',
      }),
    ),
    v: Type.Optional(
      Type.String({ maxLength: 32, description: 'Version of the bytes; makes the answer immutable.' }),
    ),
    exp: Type.Optional(
      Type.String({ maxLength: 20, description: 'Expiry of a signed link, seconds since 1970.' }),
    ),
    kid: Type.Optional(Type.String({ maxLength: 32, description: 'Key of a signed link.' })),
    sig: Type.Optional(Type.String({ maxLength: 64, description: 'Signature of a signed link.' })),
  },
  { additionalProperties: false },
);

const contentSchema = {
  tags: ['Files'],
  description:
    'Sends the original or a variant: the bytes themselves, or a redirect to them. Single ranges, conditional ' +
    'requests and `HEAD` work as in RFC 9110. Bytes that are not safe to show in place come as an attachment. ' +
    'Pictures can be transformed by parameters: those of a signed link (`POST /files/:id/links`), or a size that ' +
    'the project allows to everybody (`allowedSizes`).',
  params: ContentParams,
  querystring: ContentQuery,
  response: {
    200: {
      description: 'The bytes. `X-Variant-Fallback` tells when they are not the variant itself.',
      content: { '*/*': { schema: Type.String({ format: 'binary' }) } },
    },
    206: {
      description: 'The range asked for.',
      content: { '*/*': { schema: Type.String({ format: 'binary' }) } },
    },
    302: { description: 'The bytes are at `Location`.', type: 'null' },
    304: { description: 'What the client has is current.', type: 'null' },
  },
};

/** `GET` and `HEAD /files/:id/content`. */
export function contentRoutes(options: ContentOptions): Routes {
  return (app) => {
    // Requests that are being held would keep a stopping server up.
    app.addHook('preClose', async () => options.variants.waits.close());
    const config = { permission: 'content:read' };
    app.get(
      '/files/:id/content',
      {
        config,
        exposeHeadRoute: false,
        schema: { ...contentSchema, operationId: 'getFileContent', summary: 'Read a file’s bytes' },
      },
      (request, reply) => sendContent(options, 'GET', request, request.query, reply),
    );
    app.head(
      '/files/:id/content',
      {
        config,
        schema: {
          ...contentSchema,
          operationId: 'headFileContent',
          summary: 'Read the header of a file’s bytes',
        },
      },
      (request, reply) => sendContent(options, 'HEAD', request, request.query, reply),
    );
  };
}

async function sendContent(
  options: ContentOptions,
  method: 'GET' | 'HEAD',
  request: Pick<FastifyRequest, 'headers' | 'access' | 'log'>,
  query: Static<typeof ContentQuery>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { headers, access } = request;
  const gone = (): AbortSignal => {
    const controller = new AbortController();
    reply.raw.once('close', () => controller.abort());
    return controller.signal;
  };
  const transform = readTransform(query);
  const wanted = transform ? { ...query, transform } : query;
  const answer = await answerContent(options, { method, headers, access, query: wanted, gone });
  if (answer.varyOnAccept === true) varyOnAccept(reply);
  const { body } = answer;
  // Opened before the header is written: missing bytes are then a problem document, not a broken answer.
  const bytes =
    method === 'HEAD' || body.kind === 'none'
      ? undefined
      : body.kind === 'buffer'
        ? body.bytes
        : await openBytes(options, body.source, body.range);
  if (bytes instanceof Readable) {
    // The header is out: the framework ends the connection, and nobody else would say why.
    bytes.once('error', (error) => {
      options.onFault('broken');
      request.log.error({ err: error, fileId: access.fileId }, 'the bytes of an answer ended early');
    });
  }
  // Only what was sent to its end: then neither the framework nor the kernel looks at it any more.
  if (Buffer.isBuffer(bytes)) reply.raw.once('finish', () => options.buffers.giveBack(bytes));
  return reply.code(answer.status).headers(answer.headers).send(bytes);
}

/** Beside what others, such as CORS, let the answer depend on. */
function varyOnAccept(reply: FastifyReply): void {
  const present = reply.getHeader('vary');
  reply.header('vary', present === undefined ? 'Accept' : `${String(present)}, Accept`);
}
