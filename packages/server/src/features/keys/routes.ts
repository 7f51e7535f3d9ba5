import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { lineOfText } from '../../foundation/http/text.js';
import { isId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';
import { personOf } from '../access/caller.js';
import { scopes, type Scope } from '../access/permissions.js';
import { listKeys, type ApiKey } from './queries.js';

/** What the routes do. */
export interface KeyOperations {
  readonly db: Db;
  create(
    projectId: string,
    userId: string,
    input: { readonly name: string; readonly scopes?: readonly Scope[]; readonly expiresAt?: string },
  ): Promise<{ readonly key: string; readonly stored: ApiKey }>;
  /** @throws Problem `not-found` when the project has no such key. */
  revoke(projectId: string, keyId: string): Promise<void>;
}

const ScopeName = Type.Enum([...scopes], { type: 'string' });
const time = Type.String({ format: 'date-time' });

const keyMembers = {
  id: Type.String({ format: 'uuid' }),
  name: Type.String(),
  prefix: Type.String({ description: 'The first characters, to recognise the key by.' }),
  scopes: Type.Array(ScopeName),
  createdBy: Type.Union([Type.String({ format: 'uuid' }), Type.Null()]),
  createdAt: time,
  lastUsedAt: Type.Union([time, Type.Null()], { description: 'To the minute.' }),
  expiresAt: Type.Union([time, Type.Null()]),
};
const KeyView = Type.Object(keyMembers);
const NewKeyView = Type.Object({
  ...keyMembers,
  key: Type.String({ description: 'The key itself. Shown this once; only its hash is kept.' }),
});

const CreateKeyBody = Type.Object(
  {
    name: lineOfText(200, 'For people; need not be unique.'),
    scopes: Type.Optional(
      Type.Array(ScopeName, {
        minItems: 1,
        uniqueItems: true,
        description: '`files:read` and `files:create` when absent.',
      }),
    ),
    expiresAt: Type.Optional(time),
  },
  { additionalProperties: false },
);

const ProjectParams = Type.Object({ id: Type.String() });
const KeyParams = Type.Object({ id: Type.String(), keyId: Type.String() });
const tags = ['keys'];
const config = { permission: 'keys:manage' } as const;

function presentKey(key: ApiKey) {
  return {
    id: key.id,
    name: key.name,
    prefix: key.prefix,
    scopes: [...key.scopes],
    createdBy: key.createdBy,
    createdAt: key.createdAt.toISOString(),
    lastUsedAt: key.lastUsedAt?.toISOString() ?? null,
    expiresAt: key.expiresAt?.toISOString() ?? null,
  };
}

export function keyRoutes(operations: KeyOperations): Routes {
  return (app) => {
    app.post(
      '/projects/:id/keys',
      {
        config,
        schema: {
          operationId: 'createKey',
          summary: 'Make an API key; the answer is the only one that shows it',
          tags,
          params: ProjectParams,
          body: CreateKeyBody,
          response: { 201: NewKeyView },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const { key, stored } = await operations.create(
          projectId,
          personOf(request.access).userId,
          request.body,
        );
        reply.code(201);
        return { ...presentKey(stored), key };
      },
    );

    app.get(
      '/projects/:id/keys',
      {
        config,
        schema: {
          operationId: 'listKeys',
          summary: 'List the project’s API keys, newest first',
          tags,
          params: ProjectParams,
          querystring: Type.Object(PageQuery, { additionalProperties: false }),
          response: { 200: pageOf(KeyView) },
        },
      },
      async (request, reply) => {
        const page = readPage(request.query);
        const found = await listKeys(operations.db, request.access.projectId, page);
        const { rows, nextCursor } = cutPage(found, page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(presentKey), nextCursor };
      },
    );

    app.delete(
      '/projects/:id/keys/:keyId',
      {
        config,
        schema: {
          operationId: 'revokeKey',
          summary: 'Revoke an API key, at once',
          tags,
          params: KeyParams,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        const { keyId } = request.params;
        // A malformed id looks like an unknown one.
        if (!isId(keyId)) throw new Problem('not-found');
        await operations.revoke(request.access.projectId, keyId);
        return reply.code(204).send(null);
      },
    );
  };
}
