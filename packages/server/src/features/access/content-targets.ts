import type { Clock } from '../../foundation/clock.js';
import type { Db } from '../../foundation/database/connect.js';
import { createProofCache } from './proof-cache.js';
import { findFileTarget, findMembership, type Target } from './queries.js';

/** What is remembered, for less than a second, of files whose bytes are asked for. */
export interface ContentTargets {
  /** The file's project, with the role of the person in it. */
  find(fileId: string, userId: string | undefined): Promise<Target | undefined>;
  /** Forgets one file; undefined: everything. */
  forget(fileId: string | undefined): void;
  /** Forgets who is a member of what. */
  forgetMembers(): void;
}

/**
 * Two memories, of files and of members: a gallery of fifty pictures that ten people look at costs sixty look-ups and
 * not five hundred.
 */
export function createContentTargets({
  db,
  clock,
}: {
  readonly db: Db;
  readonly clock: Clock;
}): ContentTargets {
  const files = createProofCache({ find: (fileId) => findFileTarget(db, fileId, undefined), clock });
  const members = createProofCache({
    find: (pair) => {
      const [projectId = '', userId = ''] = pair.split(' ');
      return findMembership(db, projectId, userId);
    },
    clock,
  });
  return {
    async find(fileId, userId) {
      const target = await files.get(fileId);
      if (!target || userId === undefined) return target;
      if (target.ownerId === userId) return { ...target, role: 'owner' };
      const member = await members.get(`${target.projectId} ${userId}`);
      return { ...target, role: member?.role };
    },
    forget(fileId) {
      if (fileId !== undefined) return files.forget(fileId);
      files.forgetAll();
    },
    forgetMembers: () => members.forgetAll(),
  };
}
