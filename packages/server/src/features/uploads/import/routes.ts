import Type, { type TSchema } from 'typebox';

import type { Routes } from '../../../foundation/http/app.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../../foundation/http/pages.js';
import { Problem } from '../../../foundation/problems.js';
import type { Caller } from '../../access/caller.js';
import type { PresentFiles } from '../../files/present.js';
import { keyOf } from '../idempotency.js';
import { cancelImport, maySee, orderImport, type ImportOptions } from './operations.js';
import { findImport, listImports, type ImportRow } from './queries.js';
import { importViewSchema, presentImports, type ImportView } from './view.js';

export interface ImportRoutesOptions extends ImportOptions {
  readonly present: PresentFiles;
  /** The schema of what `present` makes of a file. */
  readonly fileViewSchema: TSchema;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
}

const tags = ['imports'];
const Params = Type.Object({ id: Type.String() });
const ImportParams = Type.Object({ id: Type.String(), importId: Type.String({ format: 'uuid' }) });
const closed = { additionalProperties: false };

const OrderBody = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: 8192, description: 'http or https, of a public host.' }),
    filename: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 4096,
        description: 'Else the source’s Content-Disposition or the URL’s path says.',
      }),
    ),
    sha256: Type.Optional(
      Type.String({ pattern: '^[0-9a-fA-F]{64}$', description: 'Verified before the file exists.' }),
    ),
    metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  },
  closed,
);

const aboutOrder =
  'A worker fetches the file in the background, under the same rules for size, type, pixels and quota as any upload. Only public hosts are asked, on every redirect too (five at most). Ask at `Location` how it goes. With Idempotency-Key a retry answers with the import of the first request and `Idempotency-Replayed: true`, as long as it is remembered (a week after its end).';

/** Files from URLs. */
export function importRoutes(options: ImportRoutesOptions): Routes {
  const { db, fileViewSchema, publicUrl } = options;
  const ImportViewSchema = importViewSchema(fileViewSchema);

  const show = async (row: ImportRow): Promise<ImportView> => {
    const [view] = await presentImports(options, row.project_id, [row]);
    if (!view) throw new TypeError('the view of an import is missing');
    return view;
  };
  const seen = async (projectId: string, importId: string, caller: Caller): Promise<ImportRow> => {
    const row = await findImport(db, projectId, importId);
    if (!row || !maySee(caller, row)) throw new Problem('not-found');
    return row;
  };

  return (app) => {
    app.post(
      '/projects/:id/import',
      {
        config: { permission: 'files:create' },
        schema: {
          operationId: 'importFile',
          summary: 'Import a file from a URL',
          description: aboutOrder,
          tags,
          params: Params,
          body: OrderBody,
          response: { 202: ImportViewSchema },
        },
      },
      async (request, reply) => {
        const { projectId, caller } = request.access;
        const { url, filename, sha256, metadata } = request.body;
        const key = keyOf(request.headers['idempotency-key']);
        const { row, replayed } = await orderImport(
          options,
          projectId,
          caller,
          { url, filename, sha256, metadata },
          key,
        );
        if (replayed) reply.header('idempotency-replayed', 'true');
        reply.header('location', `${publicUrl}/projects/${projectId}/imports/${row.id}`);
        return reply.code(202).send(await show(row));
      },
    );

    app.get(
      '/projects/:id/imports',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'listImports',
          summary: 'List the imports of a project, newest first',
          description: 'Imports are forgotten a week after their end; their files stay.',
          tags,
          params: Params,
          querystring: Type.Object(PageQuery, closed),
          response: { 200: pageOf(ImportViewSchema) },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const page = readPage(request.query);
        const { rows, nextCursor } = cutPage(await listImports(db, projectId, page), page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: await presentImports(options, projectId, rows), nextCursor };
      },
    );

    app.get(
      '/projects/:id/imports/:importId',
      {
        config: { permission: 'imports:read' },
        schema: {
          operationId: 'getImport',
          summary: 'Read how an import goes, and its file once it is there',
          tags,
          params: ImportParams,
          response: { 200: ImportViewSchema },
        },
      },
      async (request) => {
        const { projectId, caller } = request.access;
        return show(await seen(projectId, request.params.importId, caller));
      },
    );

    app.delete(
      '/projects/:id/imports/:importId',
      {
        config: { permission: 'files:create' },
        schema: {
          operationId: 'cancelImport',
          summary: 'Cancel an import that has not ended',
          description: 'Nothing of it stays. One that has ended is left as it is: 409.',
          tags,
          params: ImportParams,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        const { projectId, caller } = request.access;
        const { id } = await seen(projectId, request.params.importId, caller);
        await cancelImport(options, projectId, id);
        return reply.code(204).send(null);
      },
    );
  };
}
