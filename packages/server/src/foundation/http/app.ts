import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { Ajv, type Options as AjvOptions } from 'ajv';
import ajvFormats from 'ajv-formats';
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';

import { isId, newId } from '../ids.js';
import type { Log } from '../log.js';
import { Problem } from '../problems.js';
import {
  problemDocument,
  problemHeaders,
  ProblemSchema,
  sendProblem,
  toProblem,
} from './problem-responses.js';
import { RouteIndex } from './route-index.js';

/** The HTTP application that features mount their routes on. */
export type App = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** A feature's routes: called once with the application. */
export type Routes = (app: App) => void;

export interface AppOptions {
  readonly log: Log;
  /** Addresses of proxies whose forwarding headers count; empty: none. */
  readonly trustedProxies: readonly string[];
  /** One log line per request; yes when absent. */
  readonly accessLog?: boolean;
  /** Gives a known technical error (lost database, full store) its problem; undefined for a stranger. */
  readonly translateError?: (error: unknown) => Problem | undefined;
}

/** Largest JSON body in bytes; uploads count their own. */
const jsonBodyLimit = 256 * 1024;
/**
 * Bytes of a request's header, its URL included. Path parameters may be as long: the router would answer longer ones
 * before anybody has asked who calls.
 */
const maxHeaderSize = 16 * 1024;
/** Milliseconds between two looks for idle connections of a closing server. */
const idleSweepMs = 50;

/**
 * Makes the application: request ids, strict JSON, problem documents for everything that is not a success,
 * constant security headers, one log line per request.
 */
export function createApp(options: AppOptions): App {
  // Fastify's routes are typed by the logger they log with; its own interface is all they need.
  const logger: FastifyBaseLogger = options.log;
  const app: App = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: jsonBodyLimit,
    routerOptions: { maxParamLength: maxHeaderSize, ignoreTrailingSlash: false },
    trustProxy: options.trustedProxies.length > 0 ? [...options.trustedProxies] : false,
    genReqId: requestId,
    // Uploads of any length are honest; slow ones are ended by idle and throughput limits, not by a total.
    requestTimeout: 0,
    http: { headersTimeout: 30_000, maxHeaderSize },
    keepAliveTimeout: 72_000,
    forceCloseConnections: 'idle',
    clientErrorHandler: answerBrokenHttp,
    frameworkErrors: (error, request, reply) => {
      // No hook runs for these.
      setConstantHeaders(request, reply);
      void sendProblem(request, reply, toProblem(error));
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  // Connections that are idle when the server closes are closed by the framework; those whose request is answered later
  // would stay for as long as their client keeps them.
  app.addHook('preClose', async () => {
    if (!app.server.listening) return;
    const sweep = setInterval(() => app.server.closeIdleConnections(), idleSweepMs);
    app.server.once('close', () => clearInterval(sweep));
  });

  app.addSchema(ProblemSchema);
  app.removeContentTypeParser('text/plain');
  useStrictValidation(app);

  const routes = new RouteIndex();
  app.addHook('onRoute', (route) => routes.add(route.method, route.url));
  app.addHook('onRequest', (request, reply, done) => {
    setConstantHeaders(request, reply);
    done();
  });
  const logAccess = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    request.log.info(
      {
        method: request.method,
        route: request.routeOptions.url ?? null,
        status: reply.statusCode,
        durationMs: Math.round(reply.elapsedTime * 10) / 10,
      },
      'request',
    );
  };
  if (options.accessLog !== false) app.addHook('onResponse', logAccess);
  app.setErrorHandler((error, request, reply) =>
    sendProblem(request, reply, toProblem(error, options.translateError)),
  );
  app.setNotFoundHandler((request, reply) => {
    const allowed = routes.methodsFor(request.url.split('?', 1)[0] ?? '');
    const problem =
      allowed.length > 0
        ? new Problem('method-not-allowed', {
            detail: `This path answers ${allowed.join(', ')}.`,
            headers: { allow: allowed.join(', ') },
          })
        : new Problem('not-found', { detail: 'There is no such path.' });
    return sendProblem(request, reply, problem);
  });
  return app;
}

/** What every answer bears. One hook instead of a helmet: it costs a third of what the plugin does. */
function setConstantHeaders(request: FastifyRequest, reply: FastifyReply): void {
  reply.header('x-request-id', request.id);
  reply.header('x-content-type-options', 'nosniff');
  reply.header('referrer-policy', 'no-referrer');
  if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store');
}

/** A client's own id is kept when it is harmless, so that one id follows a request through several systems. */
function requestId(request: { headers: IncomingMessage['headers'] }): string {
  const given = request.headers['x-request-id'];
  // Not an id of the kind that rows have: the order of requests is the log's, and this one takes a tenth of the time.
  return typeof given === 'string' && (isId(given) || /^[A-Za-z0-9_-]{8,64}$/.test(given))
    ? given
    : randomUUID();
}

/**
 * Two validators: bodies are taken as they are, while path, query and headers are text and may be coerced.
 * Neither drops unknown members in silence; schemas with `additionalProperties: false` refuse them.
 */
function useStrictValidation(app: App): void {
  const common: AjvOptions = { allErrors: true, removeAdditional: false, useDefaults: true, strict: false };
  const body = new Ajv({ ...common, coerceTypes: false });
  const text = new Ajv({ ...common, coerceTypes: 'array' });
  for (const ajv of [body, text]) ajvFormats.default(ajv);
  app.setValidatorCompiler(({ schema, httpPart }) =>
    (httpPart === 'body' ? body : text).compile(schema as object),
  );
}

/** Milliseconds for an answer to broken HTTP to arrive before its connection is cut. */
const brokenLingerMs = 250;

/** Bytes that are no HTTP never reach a route; they get a problem document all the same. */
function answerBrokenHttp(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? new Problem('header-fields-too-large')
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? new Problem('request-timeout', { detail: 'The header did not arrive in time.' })
        : new Problem('invalid-request', { detail: 'The request is not valid HTTP/1.1.' });
  const body = JSON.stringify(problemDocument(problem, newId()));
  const head = Object.entries(problemHeaders(problem)).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${problem.status} ${problem.code}\r\n${head.join('')}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => {
      // Whoever still reads this request's body must learn that no more of it comes: the parser has given up, but
      // since Node.js 22 the socket stays open. Not at once: a reset would overtake the answer.
      setTimeout(() => socket.destroy(), brokenLingerMs).unref();
    },
  );
}
