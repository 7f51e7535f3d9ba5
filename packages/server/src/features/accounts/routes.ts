import Type, { type TProperties } from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { lineOfText } from '../../foundation/http/text.js';
import { Problem } from '../../foundation/problems.js';
import { personOf } from '../access/caller.js';
import type { People } from './people.js';
import { findUser } from './queries.js';
import type { RefreshCookie } from './refresh-cookie.js';
import type { Sessions } from './sessions.js';
import { email, password, presentUser, secondFactorCode, UserView } from './user-view.js';

export interface AccountRoutesOptions {
  readonly db: Db;
  readonly people: People;
  readonly sessions: Sessions;
  readonly cookie: RefreshCookie;
}

const tokenMembers = {
  sessionId: Type.String({ format: 'uuid' }),
  accessToken: Type.String({ description: 'For `Authorization: Bearer …`.' }),
  refreshToken: Type.String({ description: 'For `POST /auth/refresh`; works once.' }),
  expiresIn: Type.Integer({ description: 'Seconds that the access token works.' }),
};
const LoginView = Type.Object({ user: UserView, ...tokenMembers });
const RefreshView = Type.Object({ ...tokenMembers, refreshToken: Type.Optional(tokenMembers.refreshToken) });

/** A JSON object that may be left out as a whole. */
function optionalBody<P extends TProperties>(members: P) {
  const object = Type.Object(members, { additionalProperties: false });
  return Type.Unsafe<Type.Static<typeof object> | null>({ ...object, type: ['object', 'null'] });
}

const RegisterBody = Type.Object(
  {
    email,
    password,
    name: Type.Optional(lineOfText(200, 'What the person is called.')),
    invitation: Type.Optional(
      Type.String({ maxLength: 200, description: 'The token of an invitation to this server.' }),
    ),
  },
  { additionalProperties: false },
);
const LoginBody = Type.Object({ email, password, code: secondFactorCode }, { additionalProperties: false });
const RefreshBody = optionalBody({
  refreshToken: Type.Optional(
    Type.String({ maxLength: 200, description: 'Browsers leave it out: their cookie counts.' }),
  ),
});

const tags = ['accounts'];
const anyone = { permission: 'anyone' } as const;

export function accountRoutes({ db, people, sessions, cookie }: AccountRoutesOptions): Routes {
  /** The headers of an answer with a new refresh token: pages of this server get it as a cookie too. */
  function keep(headers: Readonly<Record<string, unknown>>, token: string): Record<string, string> {
    return cookie.isOwnPage(headers) ? { 'set-cookie': cookie.keep(token) } : {};
  }

  /** The cookie's token; a page of somebody else may not make use of it. */
  function fromCookie(headers: { cookie?: string; origin?: string; host?: string }): string | undefined {
    const token = cookie.read(headers.cookie);
    if (token !== undefined && !cookie.isOwnPage(headers)) {
      throw new Problem('forbidden', { detail: 'The cookie only counts with the Origin of this server.' });
    }
    return token;
  }

  return (app) => {
    app.post(
      '/auth/register',
      {
        config: { ...anyone, limit: 'auth' },
        schema: {
          operationId: 'register',
          summary: 'Make an account; the first one is the administrator',
          tags,
          body: RegisterBody,
          response: { 201: LoginView },
        },
      },
      async (request, reply) => {
        const user = await people.register(request.body);
        const tokens = await sessions.start(user.id, request.headers['user-agent']);
        request.letIn = { userId: user.id, sessionId: tokens.sessionId };
        reply.code(201).headers(keep(request.headers, tokens.refreshToken));
        return { user: presentUser(user), ...tokens };
      },
    );

    app.post(
      '/auth/login',
      {
        config: anyone,
        schema: {
          operationId: 'logIn',
          summary: 'Log in with e-mail and password',
          tags,
          body: LoginBody,
          response: { 200: LoginView },
        },
      },
      async (request, reply) => {
        const user = await people.logIn(request.body, request.ip);
        const tokens = await sessions.start(user.id, request.headers['user-agent']);
        request.letIn = { userId: user.id, sessionId: tokens.sessionId };
        reply.headers(keep(request.headers, tokens.refreshToken));
        return { user: presentUser(user), ...tokens };
      },
    );

    app.post(
      '/auth/refresh',
      {
        config: anyone,
        schema: {
          operationId: 'refresh',
          summary: 'Exchange the refresh token for new tokens',
          tags,
          body: RefreshBody,
          response: { 200: RefreshView },
        },
      },
      async (request, reply) => {
        const given = request.body?.refreshToken;
        const token = given ?? fromCookie(request.headers);
        if (token === undefined) {
          throw new Problem('unauthenticated', { detail: 'There is no refresh token, in body or cookie.' });
        }
        const tokens = await sessions.refresh(token);
        if (given !== undefined) return tokens;
        // A page that relies on the cookie has no use for a token that scripts could read.
        reply.header('set-cookie', cookie.keep(tokens.refreshToken));
        const { sessionId, accessToken, expiresIn } = tokens;
        return { sessionId, accessToken, expiresIn };
      },
    );

    app.post(
      '/auth/logout',
      {
        config: anyone,
        schema: {
          operationId: 'logOut',
          summary:
            'End the sessions that access token, refresh token or cookie name; without any, do nothing',
          tags,
          body: RefreshBody,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        const token = request.body?.refreshToken ?? fromCookie(request.headers);
        if (token !== undefined) await sessions.endOf(token);
        const sessionId = await sessions.named(request.headers.authorization);
        if (sessionId !== undefined) await sessions.end(sessionId);
        if (request.headers.cookie !== undefined) reply.header('set-cookie', cookie.remove());
        return reply.code(204).send(null);
      },
    );

    app.get(
      '/auth/me',
      {
        config: { permission: 'account' },
        schema: {
          operationId: 'getMe',
          summary: 'The logged-in person',
          tags,
          response: { 200: UserView },
        },
      },
      async (request) => {
        const user = await findUser(db, personOf(request.access).userId);
        // Disabled since the guard looked.
        if (!user) throw new Problem('unauthenticated');
        return presentUser(user);
      },
    );
  };
}
