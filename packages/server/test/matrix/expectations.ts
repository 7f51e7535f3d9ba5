import { permissions, type Permission, type PermissionRule } from '../../src/features/access/permissions.js';
import type { Credential, Place } from './scene.js';

/** What the permission table lets somebody do with something. */
export type Verdict = 'allowed' | 401 | 403 | 404;

/** What the id of the project or file leads to; undefined: to nothing that exists. */
export interface Target {
  readonly place: Place;
  /** What of it is in the trash. */
  readonly trashed: 'project' | 'file' | undefined;
}

/**
 * Reads the table as a person would; the guard is judged by it, so nothing of the guard is used.
 * @param target of routes about a project or a file; all projects of the scene are private.
 */
export function verdictOf(permission: string, caller: Credential, target: Target | undefined): Verdict {
  const rule: PermissionRule = permissions[permission as Permission];
  if (rule.nobody === 'yes') return 'allowed';
  if (caller.kind === 'nobody' || caller.kind === 'invalid') return 401;
  if (rule.on === 'nothing') {
    if (caller.kind === 'key') return 403;
    return rule.people === 'admin' && caller.admin !== true ? 403 : 'allowed';
  }
  if (!target || (target.trashed !== undefined && target.trashed !== rule.trash)) return 404;
  const { place } = target;
  const role = caller.roles?.[place];
  const knows = caller.kind === 'key' ? caller.key?.place === place : role !== undefined;
  if (!knows) return 404;
  const may =
    caller.kind === 'key'
      ? rule.keys.some((scope) => caller.key?.scopes.includes(scope))
      : role !== undefined && Array.isArray(rule.people) && rule.people.includes(role);
  if (may) return 'allowed';
  // What lies in the trash is shown only to those who may take it out.
  return target.trashed !== undefined ? 404 : 403;
}
