import type { FastifyRequest } from 'fastify';

import type { Db } from '../../foundation/database/connect.js';
import type { App } from '../../foundation/http/app.js';
import { isId } from '../../foundation/ids.js';
import { Problem } from '../../foundation/problems.js';
import type { Access, Caller, Identify } from './caller.js';
import { permissions, type Permission, type PermissionRule } from './permissions.js';
import { findFileTarget, findProjectTarget, type Target } from './queries.js';

export interface GuardOptions {
  readonly db: Db;
  /** The kinds of credential, in the order they are asked. */
  readonly identify: readonly Identify[];
  /** Finds the project of a file whose bytes are asked for, from what is remembered of it; asks the database when absent. */
  readonly findContentTarget?:
    ((fileId: string, userId: string | undefined) => Promise<Target | undefined>) | undefined;
}

/** Where a route's `:id` points, told by its pattern; there is nothing to forget in a route. */
export function targetOf(pattern: string): 'project' | 'file' | 'none' {
  if (/^\/projects\/:id(\/|$)/.test(pattern)) return 'project';
  if (/^\/files\/:id(\/|$)/.test(pattern)) return 'file';
  return 'none';
}

/**
 * Puts the guard in front of every route mounted after it. Before a handler runs, before the body is
 * read, it settles who calls, what the path is about, and whether the permission table lets the two together.
 *
 * @throws Error at start-up for a route without a permission, or with one that its path cannot satisfy.
 */
export function guardRoutes(app: App, options: GuardOptions): void {
  app.decorateRequest('access');
  app.addHook('onRoute', (route) => {
    const name = route.config?.permission;
    const where = `${String(route.method)} ${route.url}`;
    if (name === undefined) throw new Error(`The route ${where} names no permission.`);
    if (!isPermission(name)) throw new Error(`The route ${where} names an unknown permission “${name}”.`);
    if (targetOf(route.url) === 'none' && /^\/(projects|files)\/[:*]/.test(route.url)) {
      throw new Error(`The route ${where} must call its first parameter “:id”; the guard looks at no other.`);
    }
    // What a server can do is no secret of any project.
    const asked = route.method === 'OPTIONS';
    const named = asked || targetOf(route.url) === 'none' ? 'nothing' : 'project';
    if (permissions[name].on !== named) {
      throw new Error(`The route ${where} names the permission “${name}”, which its path does not fit.`);
    }
  });
  app.addHook('onRequest', async (request) => {
    const { permission } = request.routeOptions.config;
    // No route fits: the not-found handler answers, and needs no caller. Nor does OPTIONS, which plugins
    // mount for CORS and which tells nothing of any resource.
    if (permission === undefined && (request.is404 || request.method === 'OPTIONS')) return;
    if (permission === undefined || !isPermission(permission)) {
      throw new TypeError(`the route ${request.routeOptions.url ?? ''} was mounted past the guard`);
    }
    request.access = await decide(options, request, permission);
    // Schemas would answer 400 to what cannot be an id. Where the address itself is the credential it has been signed.
    const rule: PermissionRule = permissions[permission];
    const ids = Object.values(request.params as Record<string, string>);
    if (rule.nobody !== 'yes' && !ids.every(isId)) throw hidden();
  });
}

function isPermission(name: string): name is Permission {
  return Object.hasOwn(permissions, name);
}

async function identifyCaller(identify: readonly Identify[], request: FastifyRequest): Promise<Caller> {
  for (const one of identify) {
    const caller = await one(request);
    if (caller) return caller;
  }
  return { kind: 'nobody' };
}

/** The answer for an id that is unknown, foreign or malformed; one and the same on purpose. */
function hidden(): Problem {
  return new Problem('not-found');
}

async function decide(
  options: GuardOptions,
  request: FastifyRequest,
  permission: Permission,
): Promise<Access> {
  const rule: PermissionRule = permissions[permission];
  const caller = rule.nobody === 'yes' ? nobody : await identifyCaller(options.identify, request);
  if (rule.on === 'nothing') {
    if (caller.kind === 'nobody' && rule.nobody !== 'yes') throw new Problem('unauthenticated');
    if (caller.kind === 'key' || caller.kind === 'link') {
      throw new Problem('forbidden', { detail: 'This needs a logged-in person.' });
    }
    if (rule.people === 'admin' && !(caller.kind === 'user' && caller.role === 'admin')) {
      throw new Problem('forbidden', { detail: 'This is for administrators.' });
    }
    return { caller, projectId: '', fileId: '', role: undefined, visibility: 'private' };
  }
  if (caller.kind === 'nobody' && rule.nobody === 'no') throw new Problem('unauthenticated');

  const id = (request.params as { id?: string }).id ?? '';
  const kind = targetOf(request.routeOptions.url ?? '');
  const target = isId(id) ? await findTarget(options, kind, permission, id, caller) : undefined;
  try {
    judge(caller, rule, permission, target, kind === 'file' ? id : '');
  } catch (error) {
    // That something is in the trash is told only to those who may take it out again.
    if (target?.trashed && error instanceof Problem && error.code === 'forbidden') throw hidden();
    throw error;
  }
  // judge() throws when there is no target.
  const { projectId, role, visibility } = target as Target;
  return { caller, projectId, fileId: kind === 'file' ? id : '', role, visibility };
}

async function findTarget(
  { db, findContentTarget }: GuardOptions,
  kind: ReturnType<typeof targetOf>,
  permission: Permission,
  id: string,
  caller: Caller,
): Promise<Target | undefined> {
  const { trash }: PermissionRule = permissions[permission];
  const userId = caller.kind === 'user' ? caller.userId : undefined;
  if (kind !== 'file') return findProjectTarget(db, id, userId, trash === 'project');
  // Reading bytes is what happens a thousand times a second; everything else asks anew.
  return permission === 'content:read' && findContentTarget
    ? findContentTarget(id, userId)
    : findFileTarget(db, id, userId, trash === 'file');
}

const nobody: Caller = { kind: 'nobody' };

/** Throws unless the rule lets the caller act on the target. */
function judge(
  caller: Caller,
  rule: PermissionRule,
  permission: Permission,
  target: Target | undefined,
  fileId: string,
): void {
  const everybody = rule.nobody === 'public' && target?.visibility === 'public';
  switch (caller.kind) {
    case 'nobody':
      if (!everybody) throw new Problem('unauthenticated');
      return;
    case 'link':
      if (!target || caller.fileId !== fileId) throw hidden();
      if (!rule.links)
        throw new Problem('forbidden', { detail: 'A signed link only reads its file’s bytes.' });
      return;
    case 'key':
      if (everybody) return;
      if (!target || caller.projectId !== target.projectId) throw hidden();
      if (!rule.keys.some((scope) => caller.scopes.includes(scope))) {
        throw new Problem('forbidden', { detail: `This API key lacks the permission “${permission}”.` });
      }
      return;
    case 'user':
      if (everybody) return;
      // A member knows of the project, so the refusal may say what is missing; for others it does not exist.
      if (target?.role === undefined) throw hidden();
      if (typeof rule.people === 'string' || !rule.people.includes(target.role)) {
        throw new Problem('forbidden', { detail: `The role “${target.role}” may not do that.` });
      }
      return;
  }
}
