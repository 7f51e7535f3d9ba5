import Type from 'typebox';

import type { Routes } from '../../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../../foundation/http/pages.js';
import { Problem } from '../../../foundation/problems.js';
import { personOf } from '../../access/caller.js';
import { invitationSeconds, type MemberOperations } from './operations.js';
import {
  deleteInvitation,
  listInvitations,
  listMembers,
  sharedRoles,
  type Invitation,
  type ProjectMember,
} from './queries.js';

const closed = { additionalProperties: false } as const;
const uuid = Type.String({ format: 'uuid' });
const time = Type.String({ format: 'date-time' });
const SharedRoleName = Type.Enum([...sharedRoles], { type: 'string' });

const MemberView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'The person’s.' }),
  email: Type.String(),
  name: Type.Union([Type.String(), Type.Null()]),
  role: Type.Enum(['owner', ...sharedRoles], { type: 'string' }),
  since: time,
});
const invitationMembers = { id: uuid, role: SharedRoleName, createdAt: time, expiresAt: time };
const InvitationView = Type.Object(invitationMembers);
const NewInvitationView = Type.Object({
  ...invitationMembers,
  token: Type.String({ description: 'For `POST /invitations/accept`. Shown this once.' }),
  url: Type.String({ description: 'The link to pass on; the token stands in its fragment.' }),
});

const InviteBody = Type.Object(
  {
    role: SharedRoleName,
    expiresIn: Type.Optional(
      Type.Integer({
        minimum: 60,
        maximum: 90 * 86_400,
        description: `Seconds that the link works; ${invitationSeconds} when absent.`,
      }),
    ),
  },
  closed,
);
const AcceptBody = Type.Object({ token: Type.String({ minLength: 1, maxLength: 200 }) }, closed);
const RoleBody = Type.Object({ role: SharedRoleName }, closed);
const TransferBody = Type.Object({ userId: uuid }, closed);

const ProjectParams = Type.Object({ id: Type.String() });
const MemberParams = Type.Object({ id: Type.String(), userId: Type.String() });
const InvitationParams = Type.Object({ id: Type.String(), invitationId: Type.String() });
const page = Type.Object(PageQuery, closed);
const nothing = Type.Null();
const tags = ['members'];

const presentMember = ({ since, ...member }: ProjectMember) => ({ ...member, since: since.toISOString() });
const presentInvitation = ({ id, role, createdAt, expiresAt }: Invitation) => ({
  id,
  role,
  createdAt: createdAt.toISOString(),
  expiresAt: expiresAt.toISOString(),
});

export function memberRoutes(operations: MemberOperations): Routes {
  const { db } = operations;
  const reading = { permission: 'members:read' } as const;
  const managing = { permission: 'members:manage' } as const;
  return (app) => {
    app.get(
      '/projects/:id/members',
      {
        config: reading,
        schema: {
          operationId: 'listMembers',
          summary: 'List who works in a project, its owner included',
          tags,
          params: ProjectParams,
          querystring: page,
          response: { 200: pageOf(MemberView) },
        },
      },
      async (request, reply) => {
        const asked = readPage(request.query);
        const found = await listMembers(db, request.access.projectId, asked);
        const { rows, nextCursor } = cutPage(found, asked.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(presentMember), nextCursor };
      },
    );

    app.patch(
      '/projects/:id/members/:userId',
      {
        config: managing,
        schema: {
          operationId: 'changeMember',
          summary: 'Give a member another role',
          tags,
          params: MemberParams,
          body: RoleBody,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await operations.change(request.access.projectId, request.params.userId, request.body.role);
        return reply.code(204).send(null);
      },
    );

    app.delete(
      '/projects/:id/members/:userId',
      {
        config: managing,
        schema: {
          operationId: 'removeMember',
          summary: 'Take a member out of the project, at once',
          tags,
          params: MemberParams,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await operations.remove(request.access.projectId, request.params.userId);
        return reply.code(204).send(null);
      },
    );

    app.delete(
      '/projects/:id/membership',
      {
        config: { permission: 'project:leave' },
        schema: {
          operationId: 'leaveProject',
          summary: 'Leave the project',
          tags,
          params: ProjectParams,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await operations.remove(request.access.projectId, personOf(request.access).userId);
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/projects/:id/transfer',
      {
        config: { permission: 'project:transfer' },
        schema: {
          operationId: 'transferProject',
          summary: 'Hand the project over to a member; the owner becomes an editor',
          tags,
          params: ProjectParams,
          body: TransferBody,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        const { userId } = personOf(request.access);
        await operations.transfer(request.access.projectId, userId, request.body.userId.toLowerCase());
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/projects/:id/invitations',
      {
        config: managing,
        schema: {
          operationId: 'inviteMember',
          summary: 'Make a link that makes whoever follows it first a member',
          tags,
          params: ProjectParams,
          body: InviteBody,
          response: { 201: NewInvitationView },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const { userId } = personOf(request.access);
        const { invitation, token, url } = await operations.invite(projectId, userId, request.body);
        reply.code(201);
        return { ...presentInvitation(invitation), token, url };
      },
    );

    app.get(
      '/projects/:id/invitations',
      {
        config: managing,
        schema: {
          operationId: 'listInvitations',
          summary: 'List the invitations that still work, newest first',
          tags,
          params: ProjectParams,
          querystring: page,
          response: { 200: pageOf(InvitationView) },
        },
      },
      async (request, reply) => {
        const asked = readPage(request.query);
        const found = await listInvitations(db, request.access.projectId, asked);
        const { rows, nextCursor } = cutPage(found, asked.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(presentInvitation), nextCursor };
      },
    );

    app.delete(
      '/projects/:id/invitations/:invitationId',
      {
        config: managing,
        schema: {
          operationId: 'revokeInvitation',
          summary: 'Withdraw an invitation that was not followed yet',
          tags,
          params: InvitationParams,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        if (!(await deleteInvitation(db, projectId, request.params.invitationId))) {
          throw new Problem('not-found');
        }
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/invitations/accept',
      {
        config: { permission: 'account' },
        schema: {
          operationId: 'acceptInvitation',
          summary: 'Become a member of the project that an invitation is for',
          tags,
          body: AcceptBody,
          response: { 200: Type.Object({ projectId: uuid, name: Type.String(), role: SharedRoleName }) },
        },
      },
      async (request) => operations.accept(personOf(request.access).userId, request.body.token),
    );
  };
}
