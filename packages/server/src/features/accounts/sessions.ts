import type { Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import { newId } from '../../foundation/ids.js';
import type { Log } from '../../foundation/log.js';
import { Problem } from '../../foundation/problems.js';
import type { Identify } from '../access/caller.js';
import { createProofCache } from '../access/proof-cache.js';
import { newSecret, secretHash } from '../access/random-secret.js';
import { refused, type AccessTokens } from './access-tokens.js';
import { inTransaction } from './queries.js';
import {
  exchangeRefreshToken,
  findLivingSession,
  findSessionOfToken,
  insertRefreshToken,
  insertSession,
  judgeRefreshToken,
  lockSession,
  revokeSession,
  revokeSessionsOf,
} from './session-queries.js';

export interface SessionsOptions {
  readonly db: Db;
  readonly log: Log;
  readonly clock: Clock;
  readonly accessTokens: AccessTokens;
  /** How long a session lasts without being used. */
  readonly refreshTokenSeconds: number;
}

/** What a login or a refresh hands out. */
export interface Tokens {
  readonly sessionId: string;
  readonly accessToken: string;
  readonly refreshToken: string;
  /** Seconds that the access token works. */
  readonly expiresIn: number;
}

export interface Sessions {
  start(userId: string, userAgent: string | undefined): Promise<Tokens>;
  /**
   * Exchanges a refresh token for the next one.
   *
   * @throws Problem `unauthenticated`; a token that was exchanged before has revoked its session by then.
   */
  refresh(token: string): Promise<Tokens>;
  /** The session that an `Authorization` header proves; undefined when it proves none. */
  named(authorization: string | undefined): Promise<string | undefined>;
  /** Ends the session, here at once and elsewhere within a second. */
  end(sessionId: string): Promise<void>;
  /** Ends one of the person's sessions. @returns false when they have no such session. */
  endOne(userId: string, sessionId: string): Promise<boolean>;
  /** Ends all of the person's sessions but one. */
  endOthers(userId: string, sessionId: string): Promise<void>;
  /** Forgets what is remembered of a session; undefined: of all. */
  forget(sessionId: string | undefined): void;
  /** Ends the session of a refresh token, if it is one. */
  endOf(token: string): Promise<void>;
  readonly identify: Identify;
}

/**
 * Seconds in which an exchanged refresh token is taken once more, as long as nothing that came of it was
 * exchanged. An answer that is lost on the way, and two tabs that refresh at once, would otherwise end the
 * session. A thief gains ten seconds: whoever of the two exchanges a second time outside of it is found out.
 */
const graceSeconds = 10;
const maxUserAgent = 200;

export function createSessions(options: SessionsOptions): Sessions {
  const { db, log, accessTokens, refreshTokenSeconds: lifetime } = options;
  const living = createProofCache({
    clock: options.clock,
    find: (sessionId) => findLivingSession(db, sessionId),
  });

  async function tokensOf(userId: string, sessionId: string, refreshToken: string): Promise<Tokens> {
    return {
      sessionId,
      accessToken: await accessTokens.sign({ userId, sessionId }),
      refreshToken,
      expiresIn: accessTokens.lifetimeSeconds,
    };
  }

  async function end(sessionId: string, reason: string): Promise<void> {
    await revokeSession(db, sessionId, reason);
    living.forget(sessionId);
  }

  return {
    async start(userId, userAgent) {
      const sessionId = newId();
      const { text, hash } = newSecret();
      await inTransaction(db, async (tx) => {
        await insertSession(tx, {
          id: sessionId,
          userId,
          userAgent: userAgent?.slice(0, maxUserAgent) ?? null,
          lifetimeSeconds: lifetime,
        });
        await insertRefreshToken(tx, sessionId, hash, lifetime);
      });
      return tokensOf(userId, sessionId, text);
    },

    async refresh(token) {
      const hash = secretHash(token);
      const sessionId = hash && (await findSessionOfToken(db, hash));
      if (hash === undefined || sessionId === undefined) throw unusable();
      const outcome = await inTransaction(db, async (tx) => {
        await lockSession(tx, sessionId);
        const session = await findLivingSession(tx, sessionId);
        const worth = await judgeRefreshToken(tx, hash, graceSeconds);
        if (worth === 'used') {
          await revokeSession(tx, sessionId, 'refresh-token-reused');
          return 'reused';
        }
        if (!session || (worth !== 'good' && worth !== 'repeated')) return 'refused';
        const next = newSecret();
        await exchangeRefreshToken(tx, sessionId, hash, lifetime);
        await insertRefreshToken(tx, sessionId, next.hash, lifetime);
        return { userId: session.userId, token: next.text };
      });
      if (outcome === 'reused') {
        living.forget(sessionId);
        log.warn({ sessionId }, 'a refresh token was used twice; its session is revoked');
        throw unusable();
      }
      if (outcome === 'refused') throw unusable();
      return tokensOf(outcome.userId, sessionId, outcome.token);
    },

    async named(authorization) {
      const token = bearerToken(authorization);
      if (token === undefined) return undefined;
      try {
        return (await accessTokens.verify(token)).sessionId;
      } catch (error) {
        if (error instanceof Problem) return undefined;
        throw error;
      }
    },

    end: (sessionId) => end(sessionId, 'logout'),
    async endOne(userId, sessionId) {
      const ended = await revokeSessionsOf(db, userId, 'revoked', { only: sessionId });
      living.forget(sessionId);
      return ended > 0;
    },
    async endOthers(userId, sessionId) {
      await revokeSessionsOf(db, userId, 'revoked', { except: sessionId });
      living.forgetAll();
    },
    forget(sessionId) {
      if (sessionId === undefined) living.forgetAll();
      else living.forget(sessionId);
    },

    async endOf(token) {
      const hash = secretHash(token);
      const sessionId = hash && (await findSessionOfToken(db, hash));
      if (sessionId !== undefined) await end(sessionId, 'logout');
    },

    async identify(request) {
      const token = bearerToken(request.headers.authorization);
      // API keys are sent as bearer tokens too; their own room knows them.
      if (token === undefined || token.startsWith('mbk_')) return undefined;
      const { userId, sessionId } = await accessTokens.verify(token);
      const session = await living.get(sessionId);
      if (session?.userId !== userId) throw refused('The session has ended.');
      return { kind: 'user', userId, sessionId, role: session.role };
    },
  };
}

/** The token of `Authorization: Bearer …` (RFC 6750 §2.1; the scheme's case does not matter). */
export function bearerToken(header: string | undefined): string | undefined {
  return header === undefined ? undefined : /^bearer +(.*)$/i.exec(header)?.[1];
}

function unusable(): Problem {
  return new Problem('unauthenticated', {
    detail: 'The refresh token is unknown, used, expired or revoked. Log in again.',
  });
}
