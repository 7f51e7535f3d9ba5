import type { Routes } from '../../foundation/http/app.js';
import { Problem } from '../../foundation/problems.js';
import { memberOperations, type MembersOptions } from './members/operations.js';
import { ownedProjects } from './members/queries.js';
import { memberRoutes } from './members/routes.js';
import { projectOperations, type ProjectsOptions } from './operations.js';
import { projectRoutes } from './routes.js';

export interface Projects {
  readonly routes: Routes;
  /**
   * Deletes every project of a person who is about to be deleted.
   * @throws Problem `conflict`, before anything is deleted, while others work in one of them.
   */
  removeAllOf(ownerId: string): Promise<void>;
}

/** Tenants: their names and settings, and who works in them. */
export function createProjects(options: ProjectsOptions & MembersOptions): Projects {
  const operations = projectOperations(options);
  const mountProjects = projectRoutes(operations);
  const mountMembers = memberRoutes(memberOperations(options));
  return {
    routes: (app) => {
      mountProjects(app);
      mountMembers(app);
    },
    async removeAllOf(ownerId) {
      const owned = await ownedProjects(options.db, ownerId);
      const shared = owned.filter((project) => project.shared).length;
      if (shared > 0) {
        throw new Problem('conflict', {
          detail: `Others work in ${shared} of the projects. Hand them over or take the members out first.`,
        });
      }
      for (const { id } of owned) await operations.remove(id, { ifMatch: undefined, permanent: false });
    },
  };
}
