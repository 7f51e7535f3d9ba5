import type { FastifyRequest } from 'fastify';

import type { Role, Scope } from './permissions.js';

/** Who sends a request, as far as a credential proves it. */
export type Caller =
  | { readonly kind: 'nobody' }
  | {
      readonly kind: 'user';
      readonly userId: string;
      readonly sessionId: string;
      readonly role: 'admin' | 'user';
    }
  | {
      readonly kind: 'key';
      readonly keyId: string;
      readonly projectId: string;
      readonly scopes: readonly Scope[];
    }
  | {
      /** A signed link: proves the right to one file's original (`variant: null`) or to one variant of it. */
      readonly kind: 'link';
      readonly fileId: string;
      readonly variant: string | null;
    };

/**
 * One kind of credential. Resolves to undefined when the request carries none of this kind; throws
 * `Problem('unauthenticated')` (or a more telling one) when it carries one that is not valid.
 */
export type Identify = (request: FastifyRequest) => Promise<Caller | undefined>;

/** What the guard found out; every handler reads it from `request.access`. */
export interface Access {
  readonly caller: Caller;
  /** The project the request is about: named by the path, or that of the file named by it. */
  readonly projectId: string;
  /** The file the path names, if any. */
  readonly fileId: string;
  /** What the person is in that project; undefined for callers who are no member of it. */
  readonly role: Role | undefined;
  /** Whether the bytes of the project's files are for everybody. */
  readonly visibility: 'public' | 'private';
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the guard before any handler runs. */
    access: Access;
  }
  interface FastifyContextConfig {
    /** The entry of the permission table that decides who may use the route. */
    permission?: string;
  }
}

/** The logged-in person; for routes whose permission lets nobody else in. */
export function personOf(access: Access): Extract<Caller, { kind: 'user' }> {
  if (access.caller.kind !== 'user') throw new TypeError('the permission of this route admits only people');
  return access.caller;
}
