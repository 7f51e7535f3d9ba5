import Type, { type Static } from 'typebox';

import type { Db } from '../../../foundation/database/connect.js';
import type { Routes } from '../../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../../foundation/http/pages.js';
import { Problem } from '../../../foundation/problems.js';
import { lockProject } from '../../projects/queries.js';
import { selections } from './choose.js';
import { orderRegeneration } from './job.js';
import {
  countRunning,
  endRegeneration,
  findRegeneration,
  listRegenerations,
  type RegenerationRow,
} from './queries.js';

export interface RegenerationRoutesOptions {
  readonly db: Db;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
}

/** Regenerations of one project that may be under way at once. */
const maxRunning = 10;
const maxFiles = 100;
const tags = ['variants'];
const Params = Type.Object({ id: Type.String() });
const OneParams = Type.Object({ id: Type.String(), regenerationId: Type.String({ format: 'uuid' }) });
const nullable = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) =>
  Type.Union([schema, Type.Null()]);

const OrderBody = Type.Object(
  {
    which: Type.Optional(
      Type.Enum([...selections], {
        type: 'string',
        description:
          '`all` when absent. `missing`: eager ones without a picture; `failed`: those that failed; `stale`: those made by another recipe than the settings’.',
      }),
    ),
    variants: Type.Optional(
      Type.Array(Type.String({ maxLength: 32 }), {
        minItems: 1,
        maxItems: 50,
        uniqueItems: true,
        description: 'Names in the settings; all when absent.',
      }),
    ),
    files: Type.Optional(
      Type.Array(Type.String({ format: 'uuid' }), {
        minItems: 1,
        maxItems: maxFiles,
        uniqueItems: true,
        description: 'All files of the project when absent.',
      }),
    ),
  },
  { additionalProperties: false },
);

const RegenerationView = Type.Object({
  id: Type.String(),
  projectId: Type.String(),
  which: Type.Enum([...selections], { type: 'string' }),
  variants: nullable(Type.Array(Type.String(), { description: 'Null: all.' })),
  reason: Type.Enum(['settings', 'request'], { type: 'string' }),
  status: Type.Enum(['running', 'completed', 'cancelled', 'failed'], { type: 'string' }),
  filesTotal: nullable(Type.Integer({ description: 'Null before the first step.' })),
  filesSeen: Type.Integer({ description: 'Files looked at.' }),
  variantsPlanned: Type.Integer({ description: 'Pictures ordered so far.' }),
  jobsOpen: Type.Integer({ description: 'Of these, files that still wait or are being worked on.' }),
  createdAt: Type.String({ format: 'date-time' }),
  finishedAt: nullable(Type.String({ format: 'date-time' })),
});

/** Making variants anew: ordering it, following it, ending it. */
export function regenerationRoutes({ db, publicUrl }: RegenerationRoutesOptions): Routes {
  return (app) => {
    app.post(
      '/projects/:id/variants/regenerate',
      {
        config: { permission: 'project:write' },
        schema: {
          operationId: 'regenerateVariants',
          summary: 'Make variants anew',
          description:
            'In the background, behind everything else; what is there is served until its successor is. The end of ' +
            'a file’s status `ready` is never taken away by it.',
          tags,
          params: Params,
          body: OrderBody,
          response: { 202: RegenerationView },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const { which = 'all', variants: names, files: fileIds } = request.body;
        const walk = await db.transaction().execute(async (tx) => {
          const project = await lockProject(tx, projectId);
          if (!project) throw new Problem('not-found');
          const unknown = (names ?? []).flatMap((name, index) =>
            Object.hasOwn(project.settings.variants, name)
              ? []
              : [{ pointer: `/variants/${index}`, detail: 'is no variant of the project' }],
          );
          if (unknown.length > 0) throw new Problem('unknown-variant', { errors: unknown });
          if ((await countRunning(tx, projectId, maxRunning)) >= maxRunning) {
            throw new Problem('too-many-requests', {
              detail: `A project may have ${maxRunning} regenerations under way.`,
              limit: maxRunning,
              retryAfter: 60,
            });
          }
          return orderRegeneration(tx, { projectId, which, names, fileIds, reason: 'request' });
        });
        reply.header('location', `${publicUrl}/projects/${projectId}/regenerations/${walk.id}`);
        return reply.code(202).send(viewOf(walk));
      },
    );

    app.get(
      '/projects/:id/regenerations',
      {
        config: { permission: 'project:read' },
        schema: {
          operationId: 'listRegenerations',
          summary: 'List regenerations of a project, newest first',
          tags,
          params: Params,
          querystring: Type.Object(PageQuery, { additionalProperties: false }),
          response: { 200: pageOf(RegenerationView) },
        },
      },
      async (request, reply) => {
        const page = readPage(request.query);
        const found = await listRegenerations(db, request.access.projectId, page);
        const { rows, nextCursor } = cutPage(found, page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(viewOf), nextCursor };
      },
    );

    app.get(
      '/projects/:id/regenerations/:regenerationId',
      {
        config: { permission: 'project:read' },
        schema: {
          operationId: 'getRegeneration',
          summary: 'See how far a regeneration is',
          tags,
          params: OneParams,
          response: { 200: RegenerationView },
        },
      },
      async (request) => {
        const walk = await findRegeneration(db, request.access.projectId, request.params.regenerationId);
        if (!walk) throw new Problem('not-found');
        return viewOf(walk);
      },
    );

    app.delete(
      '/projects/:id/regenerations/:regenerationId',
      {
        config: { permission: 'project:write' },
        schema: {
          operationId: 'cancelRegeneration',
          summary: 'End a regeneration',
          description:
            'What has been ordered is still made; nothing further is. One that has ended stays as it is.',
          tags,
          params: OneParams,
          response: { 200: RegenerationView },
        },
      },
      async (request) => {
        const { projectId } = request.access;
        const { regenerationId: id } = request.params;
        const walk = await db.transaction().execute(async (tx) => {
          await endRegeneration(tx, { projectId, id }, 'cancelled');
          return findRegeneration(tx, projectId, id);
        });
        if (!walk) throw new Problem('not-found');
        return viewOf(walk);
      },
    );
  };
}

function viewOf(row: RegenerationRow): Static<typeof RegenerationView> {
  return {
    id: row.id,
    projectId: row.project_id,
    which: row.which as (typeof selections)[number],
    variants: row.names,
    reason: row.reason as 'settings' | 'request',
    status: row.status as Static<typeof RegenerationView>['status'],
    filesTotal: row.files_total,
    filesSeen: row.files_seen,
    variantsPlanned: row.variants_planned,
    jobsOpen: row.jobs_open,
    createdAt: row.created_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
  };
}
