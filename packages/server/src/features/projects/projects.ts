import type { Routes } from '../../foundation/http/app.js';
import { projectOperations, type ProjectsOptions } from './operations.js';
import { projectRoutes } from './routes.js';

/** Tenants: their names and settings. */
export function createProjects(options: ProjectsOptions): { readonly routes: Routes } {
  return { routes: projectRoutes(projectOperations(options)) };
}
