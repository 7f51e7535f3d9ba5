import { Readable } from 'node:stream';

import Type from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { listEntries, type StoredEntry } from './queries.js';

const text = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const EntryView = Type.Object({
  id: Type.String({ format: 'uuid' }),
  at: Type.String({ format: 'date-time' }),
  projectId: text('Null: of the server, not of a project.'),
  actorKind: Type.Enum(['nobody', 'user', 'key', 'link', 'operator'], { type: 'string' }),
  actorId: text('The person, or the key.'),
  sessionId: text('The session of a person.'),
  action: Type.String({ description: 'operationId of the API, or the name of a command.' }),
  targetKind: text('What it was done to.'),
  targetId: text('Its id.'),
  status: Type.Union([Type.Integer(), Type.Null()], { description: 'Of the answer; null for commands.' }),
  address: text('Where it came from.'),
  userAgent: text('What the client calls itself.'),
  requestId: text('Finds its lines in the log.'),
});

const closed = { additionalProperties: false } as const;
const page = Type.Object(PageQuery, closed);
const ProjectParams = Type.Object({ id: Type.String() });
const ndjson = {
  200: {
    description: 'One JSON object a line, newest first.',
    content: { 'application/x-ndjson': { schema: Type.Unsafe<Readable>(Type.String()) } },
  },
};
const tags = ['audit'];
/** Entries of one query of an export. */
const batch = 500;

const present = (entry: StoredEntry) => ({ ...entry, at: entry.at.toISOString() });

/** All entries as lines, read while they are sent. */
async function* linesOf(db: Db, projectId: string | undefined): AsyncGenerator<string> {
  let after: string | undefined;
  do {
    const found = await listEntries(db, projectId, { limit: batch, after });
    const shown = found.slice(0, batch);
    yield shown.map((entry) => `${JSON.stringify(present(entry))}\n`).join('');
    after = found.length > batch ? shown.at(-1)?.id : undefined;
  } while (after !== undefined);
}

/** The audit log, of a project for its owner and of the server for administrators. */
export function auditRoutes(db: Db): Routes {
  return (app) => {
    const list = async (
      request: { readonly url: string; readonly query: { limit?: number; cursor?: string } },
      projectId: string | undefined,
    ) => {
      const asked = readPage(request.query);
      const { rows, nextCursor } = cutPage(await listEntries(db, projectId, asked), asked.limit);
      return { headers: nextLink(request.url, nextCursor), body: { data: rows.map(present), nextCursor } };
    };
    const exported = (projectId: string | undefined) =>
      Readable.from(linesOf(db, projectId), { objectMode: false });

    app.get(
      '/projects/:id/audit',
      {
        config: { permission: 'audit:read' },
        schema: {
          operationId: 'listProjectAudit',
          summary: 'Who did what in the project, newest first',
          tags,
          params: ProjectParams,
          querystring: page,
          response: { 200: pageOf(EntryView) },
        },
      },
      async (request, reply) => {
        const { headers, body } = await list(request, request.access.projectId);
        reply.headers(headers);
        return body;
      },
    );

    app.get(
      '/projects/:id/audit/export',
      {
        config: { permission: 'audit:read' },
        schema: {
          operationId: 'exportProjectAudit',
          summary: 'The project’s whole audit log as NDJSON',
          tags,
          params: ProjectParams,
          response: ndjson,
        },
      },
      async (request, reply) => {
        reply.type('application/x-ndjson; charset=utf-8');
        return exported(request.access.projectId);
      },
    );

    app.get(
      '/audit',
      {
        config: { permission: 'audit:server' },
        schema: {
          operationId: 'listAudit',
          summary: 'Who did what on the server and in its projects, newest first',
          tags,
          querystring: page,
          response: { 200: pageOf(EntryView) },
        },
      },
      async (request, reply) => {
        const { headers, body } = await list(request, undefined);
        reply.headers(headers);
        return body;
      },
    );

    app.get(
      '/audit/export',
      {
        config: { permission: 'audit:server' },
        schema: {
          operationId: 'exportAudit',
          summary: 'The server’s whole audit log as NDJSON',
          tags,
          response: ndjson,
        },
      },
      async (_request, reply) => {
        reply.type('application/x-ndjson; charset=utf-8');
        return exported(undefined);
      },
    );
  };
}
