import Type from 'typebox';

import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { Problem } from '../../foundation/problems.js';
import { personOf } from '../access/caller.js';
import { projectTag, type ProjectOperations } from './operations.js';
import { findProject, findUsage, listProjects } from './queries.js';
import {
  ChangeProjectBody,
  CreateProjectBody,
  presentProject,
  presentUsage,
  ProjectView,
  UsageView,
} from './schema.js';
import { checkSettings } from './settings.js';

const Params = Type.Object({ id: Type.String() });
const tags = ['projects'];

/**
 * Refuses wrong settings before the framework's validator sees them: it knows only 400 and its own words.
 */
async function refuseWrongSettings(request: { readonly body: unknown }): Promise<void> {
  const { body } = request;
  if (typeof body === 'object' && body !== null && 'settings' in body) checkSettings(body.settings);
}

export function projectRoutes(operations: ProjectOperations): Routes {
  const { db, publicUrl, settingsChangesSchema } = operations;
  const ChangedProjectView = settingsChangesSchema
    ? Type.Object({ ...ProjectView.properties, variantChanges: Type.Optional(settingsChangesSchema) })
    : ProjectView;
  return (app) => {
    app.post(
      '/projects',
      {
        config: { permission: 'projects:create' },
        schema: {
          operationId: 'createProject',
          summary: 'Create a project',
          tags,
          body: CreateProjectBody,
          response: { 201: ProjectView },
        },
        preValidation: refuseWrongSettings,
      },
      async (request, reply) => {
        const { project, usage } = await operations.create(personOf(request.access).userId, request.body);
        reply
          .code(201)
          .headers({ location: `${publicUrl}/projects/${project.id}`, etag: projectTag(project) });
        return presentProject(project, usage, 'owner');
      },
    );

    app.get(
      '/projects',
      {
        config: { permission: 'projects:list' },
        schema: {
          operationId: 'listProjects',
          summary: 'List the projects that one owns or is a member of, newest first',
          tags,
          querystring: Type.Object(
            {
              ...PageQuery,
              trash: Type.Optional(
                Type.Boolean({ description: 'Those in the trash, instead of the others.' }),
              ),
            },
            { additionalProperties: false },
          ),
          response: { 200: pageOf(ProjectView) },
        },
      },
      async (request, reply) => {
        const page = readPage(request.query);
        const found = await listProjects(db, personOf(request.access).userId, page, request.query.trash);
        const { rows, nextCursor } = cutPage(found, page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return {
          data: rows.map(({ project, usage, role }) => presentProject(project, usage, role)),
          nextCursor,
        };
      },
    );

    app.get(
      '/projects/:id',
      {
        config: { permission: 'project:read' },
        schema: {
          operationId: 'getProject',
          summary: 'Read a project with its settings',
          tags,
          params: Params,
          response: { 200: ProjectView },
        },
      },
      async (request, reply) => {
        const project = await findProject(db, request.access.projectId);
        // Deleted since the guard looked.
        if (!project) throw new Problem('not-found');
        reply.header('etag', projectTag(project));
        return presentProject(project, await findUsage(db, project.id), request.access.role);
      },
    );

    app.get(
      '/projects/:id/usage',
      {
        config: { permission: 'project:read' },
        schema: {
          operationId: 'getProjectUsage',
          summary: 'What a project holds now',
          tags,
          params: Params,
          response: { 200: UsageView },
        },
      },
      async (request) => presentUsage(await findUsage(db, request.access.projectId)),
    );

    app.put(
      '/projects/:id',
      {
        config: { permission: 'project:write' },
        schema: {
          operationId: 'changeProject',
          summary: 'Change a project; members that are not given stay as they are',
          tags,
          params: Params,
          body: ChangeProjectBody,
          response: { 200: ChangedProjectView },
        },
        preValidation: refuseWrongSettings,
      },
      async (request, reply) => {
        const { projectId, role } = request.access;
        const { project, usage, changes } = await operations.change(
          projectId,
          request.body,
          request.headers['if-match'],
        );
        reply.header('etag', projectTag(project));
        return { ...presentProject(project, usage, role), ...(changes ? { variantChanges: changes } : {}) };
      },
    );

    app.delete(
      '/projects/:id',
      {
        config: { permission: 'project:delete' },
        schema: {
          operationId: 'deleteProject',
          summary: 'Delete a project; it is closed on every path at once',
          description:
            'It goes into the trash, from which it can be restored for `MBK_TRASH_DAYS`. With `permanent` everything it ' +
            'holds is removed for good, in the background, and nothing brings it back.',
          tags,
          params: Params,
          querystring: Type.Object(
            { permanent: Type.Optional(Type.Boolean({ description: 'Do not keep it in the trash.' })) },
            { additionalProperties: false },
          ),
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await operations.remove(request.access.projectId, {
          ifMatch: request.headers['if-match'],
          permanent: request.query.permanent === true,
        });
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/projects/:id/restore',
      {
        config: { permission: 'project:delete' },
        schema: {
          operationId: 'restoreProject',
          summary: 'Take a project out of the trash',
          description: 'One that is not in the trash stays as it is, and is answered all the same.',
          tags,
          params: Params,
          response: { 200: ProjectView },
        },
      },
      async (request, reply) => {
        const { project, usage } = await operations.restore(request.access.projectId);
        reply.header('etag', projectTag(project));
        return presentProject(project, usage, request.access.role);
      },
    );
  };
}
