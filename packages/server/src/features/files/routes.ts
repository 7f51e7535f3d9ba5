import Type, { type TSchema } from 'typebox';

import type { Db, Tx } from '../../foundation/database/connect.js';
import type { Routes } from '../../foundation/http/app.js';
import { judgeConditions } from '../../foundation/http/conditions.js';
import { cutPage, nextLink, pageOf, PageQuery, readPage } from '../../foundation/http/pages.js';
import { Problem } from '../../foundation/problems.js';
import { filterMembers, readFilters } from './filters.js';
import { checkMetadata } from './metadata.js';
import { cleanFilename } from './names.js';
import type { PresentFiles } from './present.js';
import {
  changeFile,
  findFile,
  listFiles,
  restoreFile,
  trashFiles,
  type FileChange,
  type FileRow,
  type NameSearch,
} from './queries.js';

export interface FileRoutesOptions {
  readonly db: Db;
  /** How names can be searched; see `nameSearchOf`. */
  readonly nameSearch: () => Promise<NameSearch>;
  readonly present: PresentFiles;
  /** The schema of what `present` makes of a file. */
  readonly fileViewSchema: TSchema;
  /** Rooms above: the file was changed or deleted, and that is committed. */
  readonly onChanged?: (fileId: string) => void;
  /** Rooms above: the focal point of the file was set; runs in the transaction that sets it. */
  readonly onFocalPoint?: (tx: Tx, file: FileRow) => Promise<void>;
  /** Rooms above: the file came back from the trash; runs in the transaction that brings it back. */
  readonly onRestored?: (tx: Tx, file: FileRow) => Promise<void>;
  /** Removes acknowledged files with all that is derived from them; @returns the ids of those that were there. */
  readonly purge: (tx: Tx, projectId: string, fileIds: readonly string[]) => Promise<readonly string[]>;
}

const Params = Type.Object({ id: Type.String() });

const ListQuery = Type.Object(
  {
    ...PageQuery,
    ...filterMembers,
  },
  { additionalProperties: false },
);

const part = (side: string) =>
  Type.Number({ minimum: 0, maximum: 1, description: `Part of the ${side}, from the top left.` });

const ChangeBody = Type.Object(
  {
    filename: Type.Optional(Type.String({ minLength: 1, maxLength: 10_000 })),
    metadata: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: 'Anything of your own, up to 16 KiB of JSON; replaces what was there.',
      }),
    ),
    visibility: Type.Optional(
      Type.Unsafe<'public' | 'private' | null>({
        type: ['string', 'null'],
        enum: ['public', 'private', null],
        description: 'Who may read the bytes; null: as the project says.',
      }),
    ),
    focalPoint: Type.Optional(
      Type.Union(
        [Type.Object({ x: part('width'), y: part('height') }, { additionalProperties: false }), Type.Null()],
        {
          description:
            'The point of the upright picture that variants with `position: focal` keep in view; null: its middle. They are made anew, and served as they were until then.',
        },
      ),
    ),
  },
  { additionalProperties: false },
);

/** The ledger as the API shows it. */
export function fileRoutes(options: FileRoutesOptions): Routes {
  const { db, present, fileViewSchema, onChanged = () => undefined } = options;
  const { onFocalPoint = () => Promise.resolve(), onRestored = () => Promise.resolve(), purge } = options;
  const tags = ['files'];

  const show = async (file: FileRow): Promise<Record<string, unknown>> => {
    const [view] = await present(file.project_id, [file]);
    if (view === undefined) throw new TypeError('the presenter left a file out');
    return view;
  };

  return (app) => {
    app.get(
      '/projects/:id/files',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'listFiles',
          summary: 'List the files of a project, newest first',
          tags,
          params: Params,
          querystring: ListQuery,
          response: { 200: pageOf(fileViewSchema) },
        },
      },
      async (request, reply) => {
        const { projectId } = request.access;
        const page = readPage(request.query);
        const found = await listFiles(
          db,
          projectId,
          page,
          readFilters(request.query, await options.nameSearch()),
        );
        const { rows, nextCursor } = cutPage(found, page.limit);
        reply.headers(nextLink(request.url, nextCursor));
        return { data: [...(await present(projectId, rows))], nextCursor };
      },
    );

    app.get(
      '/files/:id',
      {
        config: { permission: 'files:read' },
        schema: {
          operationId: 'getFile',
          summary: 'Read a file’s metadata and the addresses of its original and variants',
          tags,
          params: Params,
          response: { 200: fileViewSchema },
        },
      },
      async (request, reply) => {
        const { projectId, fileId } = request.access;
        const file = await findFile(db, projectId, fileId);
        // Deleted since the guard looked.
        if (!file) throw new Problem('not-found');
        reply.header('etag', fileTag(file));
        return show(file);
      },
    );

    app.patch(
      '/files/:id',
      {
        config: { permission: 'files:write' },
        schema: {
          operationId: 'changeFile',
          summary: 'Change a file’s name, metadata, visibility or focal point',
          tags,
          params: Params,
          body: ChangeBody,
          response: { 200: fileViewSchema },
        },
      },
      async (request, reply) => {
        const { projectId, fileId } = request.access;
        const { filename, metadata, visibility, focalPoint } = request.body;
        if (metadata !== undefined) checkMetadata(metadata);
        const change: FileChange = {
          ...(filename === undefined ? {} : { filename: cleanFilename(filename) }),
          ...(metadata === undefined ? {} : { metadata }),
          ...(visibility === undefined ? {} : { visibility }),
          ...(focalPoint === undefined ? {} : { focalPoint }),
        };
        const file = await db.transaction().execute(async (tx) => {
          const changed = await changeIf(tx, { projectId, fileId }, change, request.headers['if-match']);
          if (focalPoint !== undefined) await onFocalPoint(tx, changed);
          return changed;
        });
        onChanged(fileId);
        reply.header('etag', fileTag(file));
        return show(file);
      },
    );

    app.delete(
      '/files/:id',
      {
        config: { permission: 'files:delete' },
        schema: {
          operationId: 'deleteFile',
          summary: 'Delete a file; it is hidden on every path at once',
          description:
            'It goes into the trash, from which it can be restored for `MBK_TRASH_DAYS`. With `permanent` it is removed ' +
            'for good, also out of the trash: its bytes no longer count at once, and leave the store soon after.',
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
        const { projectId, fileId } = request.access;
        const remove = request.query.permanent === true ? purge : trashFiles;
        const gone = await db.transaction().execute((tx) => remove(tx, projectId, [fileId]));
        if (gone.length === 0) throw new Problem('not-found');
        onChanged(fileId);
        return reply.code(204).send(null);
      },
    );

    app.post(
      '/files/:id/restore',
      {
        config: { permission: 'files:delete' },
        schema: {
          operationId: 'restoreFile',
          summary: 'Take a file out of the trash',
          description: 'One that is not in the trash stays as it is, and is answered all the same.',
          tags,
          params: Params,
          response: { 200: fileViewSchema },
        },
      },
      async (request, reply) => {
        const { projectId, fileId } = request.access;
        const file = await db.transaction().execute(async (tx) => {
          const restored = await restoreFile(tx, projectId, fileId);
          if (restored) await onRestored(tx, restored);
          return findFile(tx, projectId, fileId);
        });
        // Purged since the guard looked.
        if (!file) throw new Problem('not-found');
        onChanged(fileId);
        reply.header('etag', fileTag(file));
        return show(file);
      },
    );
  };
}

/** The ETag of a file's metadata: the version of its row. Its bytes have another, made of their hash. */
export function fileTag(file: Pick<FileRow, 'version'>): string {
  return `"${file.version}"`;
}

async function changeIf(
  db: Tx,
  { projectId, fileId }: { readonly projectId: string; readonly fileId: string },
  change: FileChange,
  ifMatch: string | undefined,
): Promise<FileRow> {
  let version: number | undefined;
  if (ifMatch !== undefined) {
    const current = await findFile(db, projectId, fileId);
    if (!current) throw new Problem('not-found');
    const validators = { etag: fileTag(current), lastModified: current.updated_at };
    if (judgeConditions({ 'if-match': ifMatch }, validators) !== 'send') throw changed(current.version);
    version = current.version;
  }
  const file = await changeFile(db, projectId, fileId, change, version);
  if (file) return file;
  // Somebody was faster: they deleted it, or (only with a version to compare) changed it.
  const current = await findFile(db, projectId, fileId);
  throw current ? changed(current.version) : new Problem('not-found');
}

function changed(version: number): Problem {
  return new Problem('precondition-failed', { detail: `The file is at version "${version}" now.` });
}
