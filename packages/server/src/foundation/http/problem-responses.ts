import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';

import { Problem, problems, type FieldError, type ProblemCode } from '../problems.js';
import { lingeringAnswer } from './linger.js';

/** Media type of every answer that is not a success (RFC 9457 §6.1). */
export const problemMediaType = 'application/problem+json; charset=utf-8';

/** The body of such an answer. */
export interface ProblemDocument {
  /** URI reference that names the kind; resolves to its documentation. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** The kind's stable name, for programs. */
  readonly code: ProblemCode;
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  readonly limit?: number;
  readonly actual?: number;
  readonly requestId: string;
}

/** Name of the schema below in the OpenAPI document. */
export const problemSchemaId = 'Problem';

/** Its JSON Schema, used for every 4xx and 5xx answer of every route. */
export const ProblemSchema = Type.Object(
  {
    type: Type.String({ format: 'uri-reference' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable name of the problem; see docs/problems.md.' }),
    detail: Type.Optional(Type.String()),
    errors: Type.Optional(Type.Array(Type.Object({ pointer: Type.String(), detail: Type.String() }))),
    limit: Type.Optional(Type.Number()),
    actual: Type.Optional(Type.Number()),
    requestId: Type.String(),
  },
  { $id: problemSchemaId, description: 'A problem document (RFC 9457).' },
);

export function problemDocument(problem: Problem, requestId: string): ProblemDocument {
  const { title, status } = problems[problem.code];
  const { detail, errors, limit, actual } = problem.members;
  return {
    type: `/problems/${problem.code}`,
    title,
    status,
    code: problem.code,
    ...(detail === undefined ? {} : { detail }),
    ...(errors === undefined ? {} : { errors }),
    ...(limit === undefined ? {} : { limit }),
    ...(actual === undefined ? {} : { actual }),
    requestId,
  };
}

/** The header fields that go with a problem: its own, `Retry-After`, and never a cache entry. */
export function problemHeaders(problem: Problem): Record<string, string> {
  return {
    'content-type': problemMediaType,
    'cache-control': 'no-store',
    ...(problem.members.retryAfter === undefined
      ? {}
      : { 'retry-after': String(Math.max(1, Math.ceil(problem.members.retryAfter))) }),
    ...(problem.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    ...problem.members.headers,
  };
}

/** Fastify's own refusals that have a more telling problem than their status. */
const frameworkCodes: Record<string, ProblemCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
  FST_ERR_CTP_BODY_TOO_LARGE: 'body-too-large',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'malformed-body',
  FST_ERR_CTP_INVALID_JSON_BODY: 'malformed-body',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'malformed-body',
  FST_ERR_BAD_URL: 'invalid-request',
  FST_ERR_ASYNC_CONSTRAINT: 'invalid-request',
};

const statusCodes: Record<number, ProblemCode> = {
  400: 'invalid-request',
  404: 'not-found',
  408: 'request-timeout',
  413: 'body-too-large',
  414: 'uri-too-long',
  415: 'unsupported-media-type',
  431: 'header-fields-too-large',
  503: 'service-unavailable',
};

/** Most places that one answer lists; a hostile body could otherwise make thousands. */
const maxFieldErrors = 20;

/** Turns whatever was thrown into the problem that the caller is told; a stranger becomes `internal-error`. */
export function toProblem(error: unknown, translate?: (error: unknown) => Problem | undefined): Problem {
  if (error instanceof Problem) return error;
  const translated = translate?.(error);
  if (translated) return translated;
  if (error instanceof Error) {
    const framework = error as Partial<FastifyError> & { limit?: number };
    if (framework.validation) {
      const where = framework.validationContext === 'querystring' ? 'query' : framework.validationContext;
      return new Problem('invalid-request', {
        detail: 'The request does not fit its schema.',
        errors: framework.validation.slice(0, maxFieldErrors).map((fault) => ({
          pointer: (where === 'body' ? '' : `#/${where}`) + faultPointer(fault),
          detail: fault.message ?? 'is not valid',
        })),
      });
    }
    const code =
      (framework.code && frameworkCodes[framework.code]) ||
      (framework.statusCode !== undefined && framework.statusCode < 500 && statusCodes[framework.statusCode]);
    if (code) {
      // Fastify only repeats the title of this one.
      const detail =
        code === 'unsupported-media-type'
          ? 'This route does not read bodies of this Content-Type.'
          : error.message;
      return new Problem(code, { detail, cause: error });
    }
  }
  return new Problem('internal-error', {
    detail: 'The request id finds what happened in the log.',
    cause: error,
  });
}

/** Points at the member that is missing or too many, not at the object around it. */
function faultPointer(fault: {
  instancePath: string;
  keyword?: string;
  params?: Record<string, unknown>;
}): string {
  const member = fault.params?.['missingProperty'] ?? fault.params?.['additionalProperty'];
  // typebox-flavoured ajv reports `requiredProperties` lists in no case; ajv names one member an error.
  if (typeof member !== 'string') return fault.instancePath;
  return `${fault.instancePath}/${member.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** Sends the problem; the one place where an error becomes an HTTP answer. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, problem: Problem): FastifyReply {
  if (problem.status >= 500) {
    request.log.error({ err: problem.members.cause ?? problem, code: problem.code }, 'request failed');
  }
  reply.code(problem.status).headers(problemHeaders(problem));
  const body = Buffer.from(JSON.stringify(problemDocument(problem, request.id)));
  // The body may be half-read (an upload refused early): the connection cannot be used again, and the
  // client must learn that rather than send the rest into the void.
  if (!request.raw.complete && request.raw.headers['content-length'] !== '0' && hasBody(request)) {
    reply.headers({ connection: 'close', 'content-length': body.length });
    // Whoever was too slow is not listened to any longer.
    if (problem.status === 408) return reply.send(body);
    return reply.send(lingeringAnswer(request.raw, body));
  }
  return reply.send(body);
}

function hasBody(request: FastifyRequest): boolean {
  const { headers } = request.raw;
  return headers['transfer-encoding'] !== undefined || headers['content-length'] !== undefined;
}
