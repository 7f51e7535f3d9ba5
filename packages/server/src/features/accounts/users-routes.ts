import Type from 'typebox';

import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { Problem } from '../../foundation/problems.js';
import { personOf } from '../access/caller.js';
import { deleteServerInvitation, listServerInvitations, type ServerInvitation } from './link-queries.js';
import { listUsers, type ManagedUser } from './user-queries.js';
import { email } from './user-view.js';
import { serverInvitationSeconds, type UserOperations } from './users.js';

const closed = { additionalProperties: false } as const;
const uuid = Type.String({ format: 'uuid' });
const time = Type.String({ format: 'date-time' });
const nothing = Type.Null();
const RoleName = Type.Enum(['admin', 'user'], { type: 'string' });

const ManagedUserView = Type.Object({
  id: uuid,
  email: Type.String(),
  emailVerified: Type.Boolean(),
  name: Type.Union([Type.String(), Type.Null()]),
  role: RoleName,
  secondFactor: Type.Boolean(),
  disabled: Type.Boolean(),
  createdAt: time,
});
const ChangeUserBody = Type.Object(
  {
    role: Type.Optional(RoleName),
    disabled: Type.Optional(
      Type.Boolean({
        description: 'Who is disabled has no sessions and cannot log in; what is theirs stays.',
      }),
    ),
    secondFactor: Type.Optional(
      Type.Literal(false, { description: 'Takes the second factor away, for somebody who lost it.' }),
    ),
  },
  closed,
);
const OneTimeLinkView = Type.Object({
  token: Type.String({ description: 'For `POST /auth/password-reset/confirm`. Shown this once.' }),
  url: Type.String({ description: 'The link to pass on; the token stands in its fragment.' }),
  expiresIn: Type.Integer({ description: 'Seconds that it works.' }),
});
const invitationMembers = {
  id: uuid,
  email: Type.Union([Type.String(), Type.Null()], { description: 'The only address that may use it.' }),
  role: RoleName,
  createdAt: time,
  expiresAt: time,
};
const InvitationView = Type.Object(invitationMembers);
const InviteBody = Type.Object(
  {
    email: Type.Optional(email),
    role: Type.Optional(RoleName),
    expiresIn: Type.Optional(
      Type.Integer({
        minimum: 60,
        maximum: 90 * 86_400,
        description: `Seconds that the link works; ${serverInvitationSeconds} when absent.`,
      }),
    ),
  },
  closed,
);
const UserParams = Type.Object({ userId: Type.String() });
const page = Type.Object(PageQuery, closed);
const tags = ['users'];
const config = { permission: 'users:manage' } as const;

function presentManaged({ createdAt, disabledAt, ...user }: ManagedUser) {
  return { ...user, disabled: disabledAt !== null, createdAt: createdAt.toISOString() };
}
function presentInvitation(invitation: ServerInvitation) {
  const { id, email: address, role, createdAt, expiresAt } = invitation;
  return { id, email: address, role, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() };
}

/** What administrators do with the people of the server. */
export function userRoutes(operations: UserOperations): Routes {
  const { db } = operations;
  return (app) => {
    app.get(
      '/users',
      {
        config,
        schema: {
          operationId: 'listUsers',
          summary: 'List the people of the server, newest first',
          tags,
          querystring: page,
          response: { 200: pageOf(ManagedUserView) },
        },
      },
      async (request, reply) => {
        const asked = readPage(request.query);
        const { rows, nextCursor } = cutPage(await listUsers(db, asked), asked.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(presentManaged), nextCursor };
      },
    );

    app.get(
      '/users/:userId',
      {
        config,
        schema: {
          operationId: 'getUser',
          summary: 'Read a person of the server',
          tags,
          params: UserParams,
          response: { 200: ManagedUserView },
        },
      },
      async (request) => presentManaged(await operations.find(request.params.userId)),
    );

    app.patch(
      '/users/:userId',
      {
        config,
        schema: {
          operationId: 'changeUser',
          summary: 'Disable or enable a person, at once, or give them another role',
          tags,
          params: UserParams,
          body: ChangeUserBody,
          response: { 200: ManagedUserView },
        },
      },
      async (request) => presentManaged(await operations.change(request.params.userId, request.body)),
    );

    app.delete(
      '/users/:userId',
      {
        config,
        schema: {
          operationId: 'deleteUser',
          summary: 'Delete a person and their projects; refused while others work in one of them',
          tags,
          params: UserParams,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await operations.remove(request.params.userId);
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/users/:userId/reset-link',
      {
        config,
        schema: {
          operationId: 'makeResetLink',
          summary: 'Make a link with which the person can choose a new password, once',
          tags,
          params: UserParams,
          response: { 201: OneTimeLinkView },
        },
      },
      async (request, reply) => {
        const { userId } = personOf(request.access);
        reply.code(201);
        return operations.resetLink(request.params.userId, userId);
      },
    );

    app.post(
      '/users/invitations',
      {
        config,
        schema: {
          operationId: 'inviteUser',
          summary: 'Make a link with which somebody can make an account, once',
          tags,
          body: InviteBody,
          response: {
            201: Type.Object({
              ...invitationMembers,
              token: Type.String({
                description: 'The `invitation` of `POST /auth/register`. Shown this once.',
              }),
              url: Type.String({ description: 'The link to pass on; the token stands in its fragment.' }),
            }),
          },
        },
      },
      async (request, reply) => {
        const { userId } = personOf(request.access);
        const { invitation, token, url } = await operations.invite(userId, request.body);
        reply.code(201);
        return { ...presentInvitation(invitation), token, url };
      },
    );

    app.get(
      '/users/invitations',
      {
        config,
        schema: {
          operationId: 'listUserInvitations',
          summary: 'List the invitations that still work, newest first',
          tags,
          querystring: page,
          response: { 200: pageOf(InvitationView) },
        },
      },
      async (request, reply) => {
        const asked = readPage(request.query);
        const { rows, nextCursor } = cutPage(await listServerInvitations(db, asked), asked.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(presentInvitation), nextCursor };
      },
    );

    app.delete(
      '/users/invitations/:invitationId',
      {
        config,
        schema: {
          operationId: 'revokeUserInvitation',
          summary: 'Withdraw an invitation that was not used yet',
          tags,
          params: Type.Object({ invitationId: Type.String() }),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        const id = request.params.invitationId;
        if (!(await deleteServerInvitation(db, id))) throw new Problem('not-found');
        return reply.code(204).send(null);
      },
    );
  };
}
