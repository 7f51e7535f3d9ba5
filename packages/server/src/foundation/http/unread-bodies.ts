import type { FastifyPluginAsync } from 'fastify';

type Scope = Parameters<FastifyPluginAsync>[0];

/**
 * Leaves the bodies of a scope's routes in the socket: whoever reads them sets the pace. Bodies of any type are
 * taken, and the schemas of bodies are for the documentation alone.
 */
export function leaveBodiesUnread(scope: Scope): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
  const validate = scope.validatorCompiler;
  if (!validate) throw new TypeError('the application sets a validator');
  // There is no parsed body to validate.
  scope.setValidatorCompiler((part) => (part.httpPart === 'body' ? () => true : validate(part)));
}
