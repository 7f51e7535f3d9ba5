import Type, { type Static } from 'typebox';

import type { Db } from '../../../foundation/database/connect.js';
import type { Routes } from '../../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../../foundation/http/pages.js';
import { newId } from '../../../foundation/ids.js';
import { Problem } from '../../../foundation/problems.js';
import { enqueue } from '../../../foundation/queue/enqueue.js';
import { filterMembers, readFilters } from '../../files/filters.js';
import type { NameSearch } from '../../files/queries.js';
import { deleteFilesJob } from './job.js';
import {
  countRunningDeletions,
  endDeletion,
  findDeletion,
  insertDeletion,
  listDeletions,
  type DeletionRow,
  type DeletionScope,
} from './queries.js';

export interface DeletionRoutesOptions {
  readonly db: Db;
  /** How names can be searched; see `nameSearchOf`. */
  readonly nameSearch: () => Promise<NameSearch>;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
}

const maxFiles = 1_000;
/** Deletions of one project that may be under way at once. */
const maxRunning = 20;
const tags = ['files'];
const Params = Type.Object({ id: Type.String() });
const OneParams = Type.Object({ id: Type.String(), deletionId: Type.String({ format: 'uuid' }) });

const OrderBody = Type.Object(
  {
    ids: Type.Optional(
      Type.Array(Type.String({ format: 'uuid' }), { minItems: 1, maxItems: maxFiles, uniqueItems: true }),
    ),
    filter: Type.Optional(
      Type.Object(filterMembers, {
        additionalProperties: false,
        description: 'Files that the list of files shows with it; an empty one: all.',
      }),
    ),
    permanent: Type.Optional(Type.Boolean({ description: 'For good, instead of into the trash.' })),
  },
  { additionalProperties: false, description: 'Either `ids` or `filter`.' },
);

const DeletionView = Type.Object({
  id: Type.String(),
  projectId: Type.String(),
  permanent: Type.Boolean(),
  status: Type.Enum(['running', 'completed', 'cancelled', 'failed'], { type: 'string' }),
  filesTotal: Type.Union([Type.Integer({ description: 'Null before the first step.' }), Type.Null()]),
  filesDeleted: Type.Integer(),
  notFound: Type.Array(Type.String(), { description: 'Of the ids given: those that were not there.' }),
  createdAt: Type.String({ format: 'date-time' }),
  finishedAt: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
});

/** Deleting many files at once: ordering it, following it, ending it. */
export function deletionRoutes({ db, publicUrl, nameSearch }: DeletionRoutesOptions): Routes {
  return (app) => {
    app.post(
      '/projects/:id/files/delete',
      {
        config: { permission: 'files:delete' },
        schema: {
          operationId: 'deleteFiles',
          summary: 'Delete many files',
          description:
            'In the background, some hundred at a time. Files that are uploaded after the order stay, also where the ' +
            'filter fits them.',
          tags,
          params: Params,
          body: OrderBody,
          response: { 202: DeletionView },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const { permanent = false } = request.body;
        const scope = scopeOf(request.body, await nameSearch());
        const row = await db.transaction().execute(async (tx) => {
          if ((await countRunningDeletions(tx, projectId, maxRunning)) >= maxRunning) {
            throw new Problem('too-many-requests', {
              detail: `A project may have ${maxRunning} deletions under way.`,
              limit: maxRunning,
              retryAfter: 30,
            });
          }
          const order = await insertDeletion(tx, { id: newId(), projectId, scope, permanent });
          await enqueue(tx, deleteFilesJob, { deletionId: order.id }, { projectId, lane: 'normal' });
          return order;
        });
        reply.header('location', `${publicUrl}/projects/${projectId}/deletions/${row.id}`);
        return reply.code(202).send(viewOf(row));
      },
    );

    app.get(
      '/projects/:id/deletions',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'listDeletions',
          summary: 'List deletions of many files, newest first',
          tags,
          params: Params,
          querystring: Type.Object(PageQuery, { additionalProperties: false }),
          response: { 200: pageOf(DeletionView) },
        },
      },
      async (request, reply) => {
        const page = readPage(request.query);
        const found = await listDeletions(db, request.access.projectId, page);
        const { rows, nextCursor } = cutPage(found, page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: rows.map(viewOf), nextCursor };
      },
    );

    app.get(
      '/projects/:id/deletions/:deletionId',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'getDeletion',
          summary: 'See how far a deletion is',
          tags,
          params: OneParams,
          response: { 200: DeletionView },
        },
      },
      async (request) => {
        const row = await findDeletion(db, request.access.projectId, request.params.deletionId);
        if (!row) throw new Problem('not-found');
        return viewOf(row);
      },
    );

    app.delete(
      '/projects/:id/deletions/:deletionId',
      {
        config: { permission: 'files:delete' },
        schema: {
          operationId: 'cancelDeletion',
          summary: 'End a deletion; what is deleted stays so',
          tags,
          params: OneParams,
          response: { 200: DeletionView },
        },
      },
      async (request) => {
        const { projectId } = request.access;
        const { deletionId: id } = request.params;
        const row = await db.transaction().execute(async (tx) => {
          await endDeletion(tx, { projectId, id }, 'cancelled');
          return findDeletion(tx, projectId, id);
        });
        if (!row) throw new Problem('not-found');
        return viewOf(row);
      },
    );
  };
}

function scopeOf({ ids, filter }: Static<typeof OrderBody>, nameSearch: NameSearch): DeletionScope {
  if (ids !== undefined && filter === undefined) return { fileIds: ids };
  if (ids === undefined && filter !== undefined) return { filter: readFilters(filter, nameSearch) };
  throw new Problem('invalid-request', {
    detail: 'Name the files by `ids` or by a `filter`.',
    errors: [{ pointer: '', detail: 'needs either ids or a filter' }],
  });
}

function viewOf(row: DeletionRow): Static<typeof DeletionView> {
  return {
    id: row.id,
    projectId: row.project_id,
    permanent: row.permanent,
    status: row.status as Static<typeof DeletionView>['status'],
    filesTotal: row.files_total,
    filesDeleted: row.files_deleted,
    notFound: row.not_found,
    createdAt: row.created_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
  };
}
