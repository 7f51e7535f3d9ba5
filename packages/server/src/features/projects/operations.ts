import type { TSchema } from 'typebox';

import type { Db, Tx } from '../../foundation/database/connect.js';
import { judgeConditions } from '../../foundation/http/conditions.js';
import { newId } from '../../foundation/ids.js';
import type { Log } from '../../foundation/log.js';
import { Problem } from '../../foundation/problems.js';
import {
  findProject,
  findUsage,
  inTransaction,
  insertProject,
  lockProject,
  markProjectDeleted,
  markProjectPurged,
  markProjectRestored,
  updateProject,
  type Project,
  type Usage,
} from './queries.js';
import { checkSettings } from './settings.js';

export interface ProjectsOptions {
  readonly db: Db;
  readonly log: Log;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
  /**
   * Rooms above: settings changed; runs in the transaction that changes them. What it finds out becomes `variantChanges`
   * in the answer.
   */
  readonly onSettingsChanged?: (
    tx: Tx,
    project: Project,
    before: Project,
  ) => Promise<Readonly<Record<string, unknown>>>;
  /** The schema of what it finds out. */
  readonly settingsChangesSchema?: TSchema;
  /** Rooms above: the project was changed or deleted, and that is committed. */
  readonly onCommitted?: (projectId: string) => void;
  /** Rooms above: the project is deleted; runs in the transaction that does it. */
  readonly onDeleted?: (tx: Tx, project: Project) => Promise<void>;
  /** Rooms above: the project came back from the trash; runs in the transaction that brings it back. */
  readonly onRestored?: (tx: Tx, project: Project) => Promise<void>;
  /** Rooms above: the project is to be removed with everything it holds; runs in the transaction that says so. */
  readonly onPurged?: (tx: Tx, project: Project) => Promise<void>;
}

export interface ProjectWithUsage {
  readonly project: Project;
  readonly usage: Usage;
}

export interface ChangedProject extends ProjectWithUsage {
  /** Of a change of settings. */
  readonly changes: Readonly<Record<string, unknown>> | undefined;
}

/** What the routes do, each in one transaction. */
export interface ProjectOperations {
  readonly db: Db;
  readonly publicUrl: string;
  create(ownerId: string, input: { name: string; settings?: unknown }): Promise<ProjectWithUsage>;
  change(
    projectId: string,
    input: { name?: string; settings?: unknown },
    ifMatch: string | undefined,
  ): Promise<ChangedProject>;
  readonly settingsChangesSchema: TSchema | undefined;
  /** Into the trash, or (`permanent`) away for good, also out of the trash. */
  remove(
    projectId: string,
    options: { readonly ifMatch: string | undefined; readonly permanent: boolean },
  ): Promise<void>;
  /** Out of the trash; one that is not in it stays as it is. */
  restore(projectId: string): Promise<ProjectWithUsage>;
}

export function projectOperations(options: ProjectsOptions): ProjectOperations {
  const { db, log } = options;
  return {
    db,
    publicUrl: options.publicUrl,
    settingsChangesSchema: options.settingsChangesSchema,
    create(ownerId, input) {
      const settings = checkSettings(input.settings ?? {});
      return inTransaction(db, async (tx) => {
        const project = await insertProject(tx, { id: newId(), ownerId, name: input.name.trim(), settings });
        return { project, usage: await findUsage(tx, project.id) };
      });
    },
    async change(projectId, input, ifMatch) {
      const changed = await inTransaction(db, async (tx) => {
        const before = await lockForChange(tx, projectId, ifMatch);
        const changed = {
          id: projectId,
          name: input.name?.trim() ?? before.name,
          settings:
            input.settings === undefined ? before.settings : checkSettings(input.settings, before.settings),
        };
        const project = await updateProject(tx, changed);
        const changes =
          input.settings === undefined ? undefined : await options.onSettingsChanged?.(tx, project, before);
        return { project, usage: await findUsage(tx, projectId), changes };
      });
      options.onCommitted?.(projectId);
      return changed;
    },
    async remove(projectId, { ifMatch, permanent }) {
      await inTransaction(db, async (tx) => {
        const project = await lockForChange(tx, projectId, ifMatch, permanent);
        if (project.deletedAt === null) {
          await markProjectDeleted(tx, projectId);
          await options.onDeleted?.(tx, project);
        }
        if (permanent) {
          await markProjectPurged(tx, projectId);
          await options.onPurged?.(tx, project);
        }
      });
      options.onCommitted?.(projectId);
      log.info({ projectId, permanent }, 'project deleted');
    },
    async restore(projectId) {
      const restored = await inTransaction(db, async (tx) => {
        const project = await lockProject(tx, projectId, { trash: true });
        if (!project) throw new Problem('not-found');
        if (project.deletedAt !== null) {
          await markProjectRestored(tx, projectId);
          await options.onRestored?.(tx, project);
        }
        return {
          project: (await findProject(tx, projectId)) ?? project,
          usage: await findUsage(tx, projectId),
        };
      });
      options.onCommitted?.(projectId);
      return restored;
    },
  };
}

/** The ETag of a project: the version of its name and settings. What it holds changes without it. */
export function projectTag(project: Project): string {
  return `"${project.version}"`;
}

async function lockForChange(
  tx: Tx,
  projectId: string,
  ifMatch: string | undefined,
  trash = false,
): Promise<Project> {
  const project = await lockProject(tx, projectId, { trash });
  // Deleted since the guard looked.
  if (!project) throw new Problem('not-found');
  const current = { etag: projectTag(project), lastModified: project.updatedAt };
  if (judgeConditions({ 'if-match': ifMatch }, current) === 'precondition-failed') {
    throw new Problem('precondition-failed', { detail: `The project is at version ${current.etag} now.` });
  }
  return project;
}
