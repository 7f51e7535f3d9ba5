import Type, { type Static } from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { Problem } from '../../foundation/problems.js';
import { cancel } from '../../foundation/queue/cancel.js';
import { lanes } from '../../foundation/queue/define.js';
import { countJobs, listDead, listOpen, retryDead } from '../../foundation/queue/observe.js';
import { blobDeletions, isJobOf } from './queries.js';

const tags = ['jobs'];
const Params = Type.Object({ id: Type.String() });
const JobParams = Type.Object({ id: Type.String(), jobId: Type.String({ format: 'uuid' }) });
const moment = Type.String({ format: 'date-time' });
const nullable = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) =>
  Type.Union([schema, Type.Null()]);

/** Attempts that a dead letter gets when a person has it tried again. */
const furtherAttempts = 3;
const states = ['waiting', 'running', 'dead'] as const;

const JobView = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  state: Type.Enum([...states], { type: 'string' }),
  lane: nullable(Type.Enum([...lanes], { type: 'string' })),
  attempt: Type.Integer(),
  maxAttempts: nullable(Type.Integer()),
  error: nullable(Type.String({ description: 'Of the last attempt.' })),
  createdAt: moment,
  since: Type.String({
    format: 'date-time',
    description: 'Waiting: when it may run; running: when a worker took it; dead: when it was given up.',
  }),
});

const SummaryView = Type.Object({
  jobs: Type.Array(
    Type.Object({
      kind: Type.String(),
      state: Type.String({ enum: ['waiting', 'delayed', 'running', 'expired', 'dead'] }),
      count: Type.Integer(),
    }),
  ),
  blobDeletions: Type.Object(
    {
      waiting: Type.Integer(),
      failing: Type.Integer({ description: 'The store has refused them; they are tried again for ever.' }),
      oldestAt: nullable(moment),
      lastError: nullable(Type.String()),
    },
    { description: 'Blobs on their way out of the store.' },
  ),
});

/** Background work of a project: seen, retried, cancelled. */
export function jobRoutes({ db }: { readonly db: Db }): Routes {
  return (app) => {
    app.get(
      '/projects/:id/jobs',
      {
        config: { permission: 'project:read' },
        schema: {
          operationId: 'listJobs',
          summary: 'List background work of a project, newest first',
          tags,
          params: Params,
          querystring: Type.Object(
            {
              ...PageQuery,
              state: Type.Optional(
                Type.Enum([...states], { type: 'string', description: '`waiting` when absent.' }),
              ),
            },
            { additionalProperties: false },
          ),
          response: { 200: pageOf(JobView) },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const { state = 'waiting' } = request.query;
        const page = readPage(request.query);
        const found = await find(db, state, { projectId, limit: page.limit + 1, before: page.after });
        const { rows, nextCursor } = cutPage(found, page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: [...rows], nextCursor };
      },
    );

    app.get(
      '/projects/:id/jobs/summary',
      {
        config: { permission: 'project:read' },
        schema: {
          operationId: 'summarizeJobs',
          summary: 'Count background work of a project, and its blobs on their way out',
          tags,
          params: Params,
          response: { 200: SummaryView },
        },
      },
      async (request) => {
        const { projectId } = request.access;
        const [jobs, leaving] = await Promise.all([countJobs(db, projectId), blobDeletions(db, projectId)]);
        return { jobs, blobDeletions: { ...leaving, oldestAt: leaving.oldestAt?.toISOString() ?? null } };
      },
    );

    app.post(
      '/projects/:id/jobs/:jobId/retry',
      {
        config: { permission: 'project:write' },
        schema: {
          operationId: 'retryJob',
          summary: 'Try a job again that was given up',
          tags,
          params: JobParams,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const options = { attempts: furtherAttempts, projectId };
        const retried = await db.transaction().execute((tx) => retryDead(tx, request.params.jobId, options));
        if (!retried) throw new Problem('not-found');
        return reply.code(204).send(null);
      },
    );

    app.delete(
      '/projects/:id/jobs/:jobId',
      {
        config: { permission: 'project:write' },
        schema: {
          operationId: 'cancelJob',
          summary: 'Cancel a job that waits or runs',
          description:
            'One that runs is told to stop, and may end nevertheless. Variants whose job was cancelled are planned anew after some time.',
          tags,
          params: JobParams,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const { jobId: id } = request.params;
        const found = await db.transaction().execute(async (tx) => {
          if (!(await isJobOf(tx, projectId, id))) return false;
          await cancel(tx, { id });
          return true;
        });
        if (!found) throw new Problem('not-found');
        return reply.code(204).send(null);
      },
    );
  };
}

async function find(
  db: Db,
  state: (typeof states)[number],
  page: { readonly projectId: string; readonly limit: number; readonly before?: string | undefined },
): Promise<Static<typeof JobView>[]> {
  if (state === 'dead') {
    return (await listDead(db, page)).map(({ id, kind, attempt, error, createdAt, finishedAt }) => ({
      id,
      kind,
      state,
      lane: null,
      attempt,
      maxAttempts: null,
      error,
      createdAt: createdAt.toISOString(),
      since: finishedAt.toISOString(),
    }));
  }
  return (await listOpen(db, state, page)).map((job) => ({
    ...job,
    state,
    createdAt: job.createdAt.toISOString(),
    since: job.since.toISOString(),
  }));
}
