import type { Db } from '../../foundation/database/connect.js';
import type { App } from '../../foundation/http/app.js';
import type { Log } from '../../foundation/log.js';
import type { Access, Caller } from '../access/caller.js';
import { insertEntry, type AuditEntry } from './queries.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by a handler that lets somebody in: who it turned out to be. */
    letIn: { readonly userId: string; readonly sessionId: string } | undefined;
  }
}

/** Requests that change nothing that anybody would look for: parts of an upload that is noted as a whole. */
const unnoted: ReadonlySet<string> = new Set([
  'appendToResumableUpload',
  'signUploadParts',
  'signUploadRequest',
  'previewFile',
  'refresh',
]);
/** What a part of a path is about, where an answer tells the id. */
const kinds: Readonly<Record<string, string>> = {
  projects: 'project',
  files: 'file',
  upload: 'file',
  import: 'import',
  imports: 'import',
  uploads: 'upload',
  tus: 'upload',
  keys: 'key',
  rotate: 'key',
  members: 'member',
  transfer: 'member',
  users: 'user',
  'reset-link': 'user',
  invitations: 'invitation',
  sessions: 'session',
  register: 'user',
  login: 'user',
};
const reading: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);
const maxUserAgent = 200;
const firstId = /"id":"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"/;

/**
 * Notes every request that changed something, and every failed login, before it is answered: whoever has the answer
 * finds the entry. Mount it before the routes; a route cannot forget it.
 */
export function recordRequests(app: App, { db, log }: { readonly db: Db; readonly log: Log }): void {
  app.decorateRequest('letIn', undefined);
  app.addHook('onSend', async (request, reply, payload: unknown) => {
    const { schema, url: route = '' } = request.routeOptions;
    const action = schema?.operationId;
    if (action === undefined || reading.has(request.method) || unnoted.has(action)) return payload;
    const failedLogin = action === 'logIn' && reply.statusCode === 401;
    if (reply.statusCode >= 400 && !failedLogin) return payload;
    const access = accessOf(request);
    const parts = route.split('/').filter((part) => part !== '');
    const target = targetOf(parts, request.params as Record<string, string>, payload);
    const creates = action === 'createProject';
    const entry: AuditEntry = {
      projectId: access?.projectId || (creates ? target.targetId : null),
      ...actorOf(access?.caller, request.letIn),
      action,
      ...target,
      status: reply.statusCode,
      address: request.ip,
      userAgent: request.headers['user-agent']?.slice(0, maxUserAgent) ?? null,
      requestId: request.id,
    };
    try {
      await insertEntry(db, entry);
    } catch (error) {
      // What was done is done, and answered; the log is where it can still be found.
      log.error({ err: error, audit: entry }, 'an audit entry could not be written');
    }
    return payload;
  });
}

/** Unset when the guard itself has refused. */
function accessOf(request: { readonly access?: Access }): Access | undefined {
  return request.access;
}

function actorOf(
  caller: Caller | undefined,
  letIn: { readonly userId: string; readonly sessionId: string } | undefined,
): Pick<AuditEntry, 'actorKind' | 'actorId' | 'sessionId'> {
  if (letIn) return { actorKind: 'user', actorId: letIn.userId, sessionId: letIn.sessionId };
  switch (caller?.kind) {
    case 'user':
      return { actorKind: 'user', actorId: caller.userId, sessionId: caller.sessionId };
    case 'key':
      return { actorKind: 'key', actorId: caller.keyId, sessionId: null };
    case 'link':
      return { actorKind: 'link', actorId: null, sessionId: null };
    default:
      return { actorKind: 'nobody', actorId: null, sessionId: null };
  }
}

/** What a request was about: the last id of its path, or the first that its answer tells of something new. */
function targetOf(
  parts: readonly string[],
  params: Readonly<Record<string, string>>,
  payload: unknown,
): Pick<AuditEntry, 'targetKind' | 'targetId'> {
  const words = parts.filter((part) => !part.startsWith(':'));
  const last = parts.at(-1) ?? '';
  const kindOf = (word: string | undefined): string | null =>
    word === undefined ? null : (kinds[word] ?? word);
  if (last.startsWith(':')) {
    return { targetKind: kindOf(words.at(-1)), targetId: params[last.slice(1)]?.slice(0, 100) ?? null };
  }
  const made = typeof payload === 'string' ? firstId.exec(payload)?.[1] : undefined;
  if (made !== undefined) return { targetKind: kindOf(last), targetId: made };
  const name = parts.findLast((part) => part.startsWith(':'))?.slice(1);
  const at = parts.findLastIndex((part) => part.startsWith(':'));
  return {
    targetKind: kindOf(at > 0 ? parts[at - 1] : last),
    targetId: name === undefined ? null : (params[name]?.slice(0, 100) ?? null),
  };
}
