import type { SwaggerOptions } from '@fastify/swagger';

import { problemSchemaId } from './problem-responses.js';

export interface ApiDescription {
  readonly version: string;
  readonly publicUrl: string;
}

/**
 * Options of @fastify/swagger for the OpenAPI 3.1 document. Routes declare their successes; the problem
 * answer that every operation shares is added here, once.
 */
export function describeApi({ version, publicUrl }: ApiDescription): SwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'MediaBlobKit',
        version,
        description:
          'Uploads, image variants and delivery. Every answer that is no success is a problem document (RFC 9457).',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: publicUrl }],
      components: {
        securitySchemes: {
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: 'An access token of `POST /auth/login`, or an API key (`mbk_…`).',
          },
          apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key (`mbk_…`).' },
        },
      },
      tags: [
        { name: 'accounts', description: 'Registration and sessions' },
        { name: 'projects', description: 'Tenants and their settings' },
        { name: 'keys', description: 'API keys of a project' },
        { name: 'files', description: 'Uploads and metadata' },
        { name: 'content', description: 'The bytes of files and their variants' },
        { name: 'health', description: 'Probes' },
      ],
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, index) =>
        typeof json['$id'] === 'string' ? json['$id'] : `schema-${index}`,
    },
    // The permission is part of the contract: tools and the access matrix read it from the document.
    transform: ({ schema, url, route }) => {
      const { permission } = route.config ?? {};
      const security: Record<string, readonly string[]>[] =
        permission === 'anyone' ? [] : [{ bearer: [] }, { apiKey: [] }];
      return { schema: { ...schema, security, ...(permission ? { 'x-permission': permission } : {}) }, url };
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      const api = document.openapiObject;
      for (const path of Object.values(api.paths ?? {})) {
        for (const operation of Object.values(path ?? {})) {
          if (typeof operation !== 'object' || !('responses' in operation)) continue;
          operation.responses = {
            ...operation.responses,
            default: {
              description: 'A problem document',
              content: {
                'application/problem+json': { schema: { $ref: `#/components/schemas/${problemSchemaId}` } },
              },
            },
          };
        }
      }
      return api;
    },
  };
}
