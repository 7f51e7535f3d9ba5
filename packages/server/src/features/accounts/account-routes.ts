import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { lineOfText } from '../../foundation/http/text.js';
import { isId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';
import { personOf, type Access } from '../access/caller.js';
import type { AccountOperations, Self } from './account.js';
import type { SecondFactors } from './second-factor.js';
import { listSessions } from './session-queries.js';
import type { Sessions } from './sessions.js';
import { email, linkToken, password, presentUser, secondFactorCode, UserView } from './user-view.js';

export interface OwnAccountRoutesOptions {
  readonly db: Db;
  readonly account: AccountOperations;
  readonly sessions: Sessions;
  readonly secondFactors: SecondFactors;
}

const closed = { additionalProperties: false } as const;
const time = Type.String({ format: 'date-time' });
const nothing = Type.Null();
const proof = { password, code: secondFactorCode };

const SessionView = Type.Object({
  id: Type.String({ format: 'uuid' }),
  userAgent: Type.Union([Type.String(), Type.Null()]),
  current: Type.Boolean({ description: 'Whether it is the one that asks.' }),
  createdAt: time,
  lastUsedAt: time,
  expiresAt: time,
});
const name = Type.Union([lineOfText(200, 'What the person is called.'), Type.Null()]);
const tags = ['accounts'];
const own = { permission: 'account' } as const;
const anyone = { permission: 'anyone', limit: 'auth' } as const;

/** What people do with their own accounts. */
export function ownAccountRoutes(options: OwnAccountRoutesOptions): Routes {
  const { db, account, sessions, secondFactors } = options;
  const selfOf = (
    request: { readonly access: Access; readonly ip: string },
    body: { readonly password: string; readonly code?: string },
  ): Self => {
    const { userId, sessionId } = personOf(request.access);
    const { password: given, code } = body;
    return {
      userId,
      sessionId,
      address: request.ip,
      password: given,
      ...(code === undefined ? {} : { code }),
    };
  };

  return (app) => {
    app.patch(
      '/auth/me',
      {
        config: own,
        schema: {
          operationId: 'changeMe',
          summary: 'Change one’s name',
          tags,
          body: Type.Object({ name }, closed),
          response: { 200: UserView },
        },
      },
      async (request) =>
        presentUser(await account.rename(personOf(request.access).userId, request.body.name)),
    );

    app.delete(
      '/auth/me',
      {
        config: own,
        schema: {
          operationId: 'deleteMe',
          summary: 'Delete one’s account and one’s projects; refused while others work in one of them',
          tags,
          body: Type.Object(proof, closed),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await account.remove(selfOf(request, request.body));
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/auth/password',
      {
        config: own,
        schema: {
          operationId: 'changePassword',
          summary: 'Change one’s password; all other sessions end',
          tags,
          body: Type.Object({ ...proof, newPassword: password }, closed),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await account.changePassword(selfOf(request, request.body), request.body.newPassword);
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/auth/email',
      {
        config: own,
        schema: {
          operationId: 'changeEmail',
          summary: 'Change one’s e-mail address; where mail can be sent, once the new one is confirmed',
          tags,
          body: Type.Object({ ...proof, email }, closed),
          response: {
            200: Type.Object({
              user: UserView,
              confirmationSent: Type.Boolean({ description: 'False: the address has changed already.' }),
            }),
          },
        },
      },
      async (request) => {
        const changed = await account.changeEmail(selfOf(request, request.body), request.body.email);
        return { ...changed, user: presentUser(changed.user) };
      },
    );

    app.post(
      '/auth/email-verification',
      {
        config: own,
        schema: {
          operationId: 'sendEmailVerification',
          summary: 'Send the link that proves one’s address',
          tags,
          response: { 202: Type.Unsafe<undefined>(nothing) },
        },
      },
      async (request, reply) => {
        await account.sendVerification(personOf(request.access).userId);
        return reply.code(202).send(undefined);
      },
    );

    app.post(
      '/auth/email-verification/confirm',
      {
        config: anyone,
        schema: {
          operationId: 'verifyEmail',
          summary: 'Prove an address with the token of the link that was sent there',
          tags,
          body: Type.Object({ token: linkToken }, closed),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await account.verifyEmail(request.body.token);
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/auth/password-reset',
      {
        config: anyone,
        schema: {
          operationId: 'requestPasswordReset',
          summary: 'Have a link sent with which to choose a new password; the answer is always the same',
          description: 'Without SMTP nothing is sent: ask an administrator for a link.',
          tags,
          body: Type.Object({ email }, closed),
          response: { 202: Type.Unsafe<undefined>(nothing) },
        },
      },
      async (request, reply) => {
        await account.requestReset(request.body.email);
        return reply.code(202).send(undefined);
      },
    );

    app.post(
      '/auth/password-reset/confirm',
      {
        config: anyone,
        schema: {
          operationId: 'resetPassword',
          summary: 'Choose a new password with the token of a link; all sessions end',
          tags,
          body: Type.Object({ token: linkToken, password }, closed),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        await account.resetPassword(request.body.token, request.body.password);
        return reply.code(204).send(null);
      },
    );

    app.get(
      '/auth/sessions',
      {
        config: own,
        schema: {
          operationId: 'listSessions',
          summary: 'List one’s sessions, newest first',
          tags,
          querystring: Type.Object(PageQuery, closed),
          response: { 200: pageOf(SessionView) },
        },
      },
      async (request, reply) => {
        const { userId, sessionId } = personOf(request.access);
        const page = readPage(request.query);
        const { rows, nextCursor } = cutPage(await listSessions(db, userId, page), page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        const data = rows.map((session) => ({
          id: session.id,
          userAgent: session.userAgent,
          current: session.id === sessionId,
          createdAt: session.createdAt.toISOString(),
          lastUsedAt: session.lastUsedAt.toISOString(),
          expiresAt: session.expiresAt.toISOString(),
        }));
        return { data, nextCursor };
      },
    );

    app.delete(
      '/auth/sessions',
      {
        config: own,
        schema: {
          operationId: 'endOtherSessions',
          summary: 'End all of one’s sessions but this one',
          tags,
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        const { userId, sessionId } = personOf(request.access);
        await sessions.endOthers(userId, sessionId);
        return reply.code(204).send(null);
      },
    );

    app.delete(
      '/auth/sessions/:sessionId',
      {
        config: own,
        schema: {
          operationId: 'endSession',
          summary: 'End one of one’s sessions, at once',
          tags,
          params: Type.Object({ sessionId: Type.String() }),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        const { sessionId } = request.params;
        const { userId } = personOf(request.access);
        if (!isId(sessionId) || !(await sessions.endOne(userId, sessionId))) throw new Problem('not-found');
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/auth/second-factor',
      {
        config: own,
        schema: {
          operationId: 'beginSecondFactor',
          summary: 'Make the secret of a second factor; it counts once a code of it is confirmed',
          tags,
          body: Type.Object({ password }, closed),
          response: {
            200: Type.Object({
              secret: Type.String({ description: 'In base 32. Shown this once.' }),
              uri: Type.String({ description: 'For a QR code.' }),
            }),
          },
        },
      },
      async (request) => {
        const user = await account.prove(selfOf(request, request.body));
        return secondFactors.begin(user.id, user.email);
      },
    );

    app.post(
      '/auth/second-factor/confirm',
      {
        config: own,
        schema: {
          operationId: 'confirmSecondFactor',
          summary: 'Make the second factor count, with a code of it',
          tags,
          body: Type.Object({ code: Type.String({ pattern: '^\\d{6}$' }) }, closed),
          response: {
            200: Type.Object({
              recoveryCodes: Type.Array(Type.String(), {
                description: 'Each works once in place of a code. Shown this once.',
              }),
            }),
          },
        },
      },
      async (request) => {
        const codes = await secondFactors.confirm(personOf(request.access).userId, request.body.code);
        return { recoveryCodes: [...codes] };
      },
    );

    app.delete(
      '/auth/second-factor',
      {
        config: own,
        schema: {
          operationId: 'removeSecondFactor',
          summary: 'Take the second factor away',
          tags,
          body: Type.Object(proof, closed),
          response: { 204: nothing },
        },
      },
      async (request, reply) => {
        const { id } = await account.prove(selfOf(request, request.body));
        await secondFactors.remove(id);
        return reply.code(204).send(null);
      },
    );
  };
}
