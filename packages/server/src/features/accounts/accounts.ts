import type { Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import type { Log } from '../../foundation/log.js';
import type { Identify } from '../access/caller.js';
import { createAccessTokens } from './access-tokens.js';
import { accountOperations } from './account.js';
import { ownAccountRoutes } from './account-routes.js';
import { createLoginLimiter, type LoginLimits } from './login-limiter.js';
import { createPasswords, type HashCost } from './passwords.js';
import { createPeople, type Registration } from './people.js';
import { createRefreshCookie } from './refresh-cookie.js';
import { accountRoutes } from './routes.js';
import { createSecondFactors } from './second-factor.js';
import { createSessions } from './sessions.js';
import { userOperations } from './users.js';
import { userRoutes } from './users-routes.js';

export interface AccountsOptions {
  readonly db: Db;
  readonly log: Log;
  readonly clock: Clock;
  /** Sign access tokens: the present secret, then those that still verify; the same in every process. */
  readonly jwtSecrets: readonly [string, ...string[]];
  /**
   * `iss` of the access tokens. Not the public URL: two processes of one installation may be reached by
   * different ones and must take each other's tokens; what separates installations is the secret.
   */
  readonly issuer?: string;
  /** Decides the cookie's form, and whose pages may use it. */
  readonly publicUrl: string;
  readonly accessTokenSeconds: number;
  readonly refreshTokenSeconds: number;
  readonly registration: Registration;
  /** Where pages for people are, without a slash at the end; links to follow begin with it. */
  readonly pagesUrl: string;
  /** Whether a worker of this installation sends mail. */
  readonly sendsMail: boolean;
  /** Rooms above: deletes every project of a person. @throws Problem `conflict` while others work in one. */
  readonly removeProjectsOf: (userId: string) => Promise<void>;
  /** Passwords hashed at the same time. */
  readonly parallelHashes: number;
  /** OWASP's minimum when absent. */
  readonly hashCost?: HashCost;
  readonly loginLimits: LoginLimits;
}

export interface Accounts {
  readonly routes: Routes;
  readonly identify: Identify;
  /** Forgets what is remembered of a session; undefined: of all. */
  forget(sessionId: string | undefined): void;
}

/** People, their passwords and their sessions. */
export async function createAccounts(options: AccountsOptions): Promise<Accounts> {
  const { db, log, clock } = options;
  // Both go into places that know whole seconds only: `exp`, `expiresIn`, `Max-Age`.
  const accessTokenSeconds = Math.floor(options.accessTokenSeconds);
  const refreshTokenSeconds = Math.floor(options.refreshTokenSeconds);
  const sessions = createSessions({
    db,
    log,
    clock,
    accessTokens: await createAccessTokens({
      secrets: options.jwtSecrets,
      issuer: options.issuer ?? 'mediablobkit',
      lifetimeSeconds: accessTokenSeconds,
      clock,
    }),
    refreshTokenSeconds,
  });
  const secondFactors = createSecondFactors({ db, clock });
  const people = createPeople({
    db,
    passwords: await createPasswords({
      parallel: options.parallelHashes,
      ...(options.hashCost ? { cost: options.hashCost } : {}),
    }),
    limiter: createLoginLimiter(options.loginLimits),
    registration: options.registration,
    secondFactors,
  });
  const users = userOperations({
    db,
    pagesUrl: options.pagesUrl,
    onSessionsEnded: () => sessions.forget(undefined),
    removeProjectsOf: options.removeProjectsOf,
  });
  const account = accountOperations({
    db,
    people,
    sessions,
    sendsMail: options.sendsMail,
    removeUser: (userId) => users.remove(userId),
  });
  const cookie = createRefreshCookie({
    publicUrl: options.publicUrl,
    lifetimeSeconds: refreshTokenSeconds,
  });
  return {
    routes: (app) => {
      accountRoutes({ db, people, sessions, cookie })(app);
      ownAccountRoutes({ db, account, sessions, secondFactors })(app);
      userRoutes(users)(app);
    },
    identify: sessions.identify,
    forget: (sessionId) => sessions.forget(sessionId),
  };
}
