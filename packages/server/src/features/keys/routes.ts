import Type, { type TSchema } from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { lineOfText } from '../../foundation/http/text.js';
import { personOf } from '../access/caller.js';
import { scopes, type Scope } from '../access/permissions.js';
import { listKeys, type ApiKey, type KeyRules } from './queries.js';

/** What the routes do. `not-found` is thrown when the project has no such key. */
export interface KeyOperations {
  readonly db: Db;
  create(projectId: string, userId: string, input: KeyInput & { readonly name: string }): Promise<ShownKey>;
  change(projectId: string, keyId: string, input: KeyInput & { readonly enabled?: boolean }): Promise<ApiKey>;
  /** The key of before works for `overlapSeconds` still. */
  rotate(projectId: string, keyId: string, overlapSeconds: number): Promise<ShownKey>;
  revoke(projectId: string, keyId: string): Promise<void>;
}

/** What a client says of a key, checked by the schema. */
export interface KeyInput extends Partial<KeyRules> {
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  readonly expiresAt?: string | null;
}

/** A key with its text, which is shown this once. */
export interface ShownKey {
  readonly key: string;
  readonly stored: ApiKey;
}

const ScopeName = Type.Enum([...scopes], { type: 'string' });
const time = Type.String({ format: 'date-time' });

const orNull = <T extends TSchema>(schema: T, description: string) =>
  Type.Union([schema, Type.Null()], { description });
const listOf = (item: TSchema, description: string) =>
  Type.Unsafe<string[] | null>(
    orNull(Type.Array(item, { minItems: 1, maxItems: 50, uniqueItems: true }), description),
  );
const positive = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });

/** `image/png`, `image/*`, or everything; as in a project's settings. */
const typePattern = '^(?:\\*/\\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/(?:\\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126}))$';

const rules = {
  allowedOrigins: listOf(
    Type.String({ maxLength: 200 }),
    'Pages that may use the key, such as `https://app.example.com`; requests without an Origin then may not. Null: all.',
  ),
  allowedAddresses: listOf(
    Type.String({ maxLength: 60 }),
    'Addresses and networks that may use the key, such as `10.0.0.0/8`. Null: all.',
  ),
  maxFileBytes: orNull(
    positive,
    'Largest file in bytes that the key may bring. Null: as the project has it.',
  ),
  maxFiles: orNull(
    positive,
    'Most files that the key has brought and that are held, uploads under way included. Null: no limit.',
  ),
  allowedTypes: listOf(
    Type.String({ pattern: typePattern }),
    'Media types that the key may bring, among those that the project takes. Null: all of them.',
  ),
};

const keyMembers = {
  id: Type.String({ format: 'uuid' }),
  name: Type.String(),
  prefix: Type.String({ description: 'The first characters, to recognise the key by.' }),
  scopes: Type.Array(ScopeName),
  enabled: Type.Boolean(),
  createdBy: Type.Union([Type.String({ format: 'uuid' }), Type.Null()]),
  createdAt: time,
  lastUsedAt: orNull(time, 'To the minute.'),
  lastUsedAddress: orNull(Type.String(), 'Where it was used then.'),
  expiresAt: Type.Union([time, Type.Null()]),
  previousUntil: orNull(time, 'Until when the key of before the last rotation works.'),
  ...rules,
};
const KeyView = Type.Object(keyMembers);
const NewKeyView = Type.Object({
  ...keyMembers,
  key: Type.String({ description: 'The key itself. Shown this once; only its hash is kept.' }),
});

const closed = { additionalProperties: false };
const ruleInput = {
  allowedOrigins: Type.Optional(rules.allowedOrigins),
  allowedAddresses: Type.Optional(rules.allowedAddresses),
  maxFileBytes: Type.Optional(rules.maxFileBytes),
  maxFiles: Type.Optional(rules.maxFiles),
  allowedTypes: Type.Optional(rules.allowedTypes),
};
const name = lineOfText(200, 'For people; need not be unique.');
const scopeList = (description: string) =>
  Type.Optional(Type.Array(ScopeName, { minItems: 1, uniqueItems: true, description }));

const CreateKeyBody = Type.Object(
  {
    name,
    scopes: scopeList('`files:read` and `files:create` when absent.'),
    expiresAt: Type.Optional(time),
    ...ruleInput,
  },
  closed,
);
const ChangeKeyBody = Type.Object(
  {
    name: Type.Optional(name),
    scopes: scopeList('All that it may from now on.'),
    enabled: Type.Optional(
      Type.Boolean({ description: 'A disabled key is refused until it is enabled again.' }),
    ),
    expiresAt: Type.Optional(orNull(time, 'Null: never.')),
    ...ruleInput,
  },
  closed,
);
const RotateKeyBody = Type.Object(
  {
    overlapSeconds: Type.Integer({
      minimum: 0,
      maximum: 30 * 86_400,
      description: 'How long the present key works beside the new one.',
    }),
  },
  closed,
);

const ProjectParams = Type.Object({ id: Type.String() });
const KeyParams = Type.Object({ id: Type.String(), keyId: Type.String() });
const tags = ['keys'];
const config = { permission: 'keys:manage' } as const;

function presentKey(key: ApiKey) {
  return {
    ...key,
    scopes: [...key.scopes],
    createdAt: key.createdAt.toISOString(),
    lastUsedAt: key.lastUsedAt?.toISOString() ?? null,
    expiresAt: key.expiresAt?.toISOString() ?? null,
    previousUntil: key.previousUntil?.toISOString() ?? null,
    allowedOrigins: key.allowedOrigins && [...key.allowedOrigins],
    allowedAddresses: key.allowedAddresses && [...key.allowedAddresses],
    allowedTypes: key.allowedTypes && [...key.allowedTypes],
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

    app.patch(
      '/projects/:id/keys/:keyId',
      {
        config,
        schema: {
          operationId: 'changeKey',
          summary: 'Change an API key; members that are not given stay as they are',
          tags,
          params: KeyParams,
          body: ChangeKeyBody,
          response: { 200: KeyView },
        },
      },
      async (request) => {
        const { projectId } = request.access;
        return presentKey(await operations.change(projectId, request.params.keyId, request.body));
      },
    );

    app.post(
      '/projects/:id/keys/:keyId/rotate',
      {
        config,
        schema: {
          operationId: 'rotateKey',
          summary:
            'Put a new key in the place of one, which works a while longer; the answer is the only one that shows it',
          tags,
          params: KeyParams,
          body: RotateKeyBody,
          response: { 200: NewKeyView },
        },
      },
      async (request) => {
        const { projectId } = request.access;
        const { overlapSeconds } = request.body;
        const keyId = request.params.keyId;
        const { key, stored } = await operations.rotate(projectId, keyId, overlapSeconds);
        return { ...presentKey(stored), key };
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
        await operations.revoke(request.access.projectId, request.params.keyId);
        return reply.code(204).send(null);
      },
    );
  };
}
