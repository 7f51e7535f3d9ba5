import Type, { type Static } from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import { findProject } from '../projects/queries.js';
import type { ProjectSettings } from '../projects/settings.js';
import { isDecodable } from '../variants/recipes.js';
import { variantsOf, type VariantRow } from '../variants/queries.js';
import type { FileRow } from '../files/queries.js';
import type { Links } from './links.js';
import { versionOf } from './source.js';
import { createUrls, type Urls } from './urls.js';

const nullable = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) =>
  Type.Union([schema, Type.Null()]);

const moment = Type.String({ format: 'date-time', description: 'RFC 3339, UTC.' });

/** One derived image of a file. */
export const VariantViewSchema = Type.Object({
  status: Type.String({
    enum: ['pending', 'rendering', 'ready', 'failed'],
    description: '`pending` with `lazy` is made on its first request.',
  }),
  url: Type.String({
    description: 'Works as it stands: for everybody in a public project, else signed for a while.',
  }),
  width: nullable(Type.Integer()),
  height: nullable(Type.Integer()),
  size: nullable(Type.Integer({ description: 'Bytes.' })),
  mimeType: nullable(Type.String()),
  failure: Type.Optional(Type.Object({ code: Type.String(), detail: Type.String() })),
  lazy: Type.Optional(Type.Boolean()),
});

/** A file as the API shows it. */
export const FileViewSchema = Type.Object({
  id: Type.String(),
  projectId: Type.String(),
  filename: Type.String(),
  mimeType: Type.String({ description: 'Detected from the bytes.' }),
  size: nullable(Type.Integer({ description: 'Bytes.' })),
  sha256: nullable(Type.String({ description: 'Hexadecimal.' })),
  status: Type.String({ enum: ['uploading', 'verifying', 'processing', 'ready', 'failed'] }),
  failure: nullable(Type.String({ description: 'Why processing failed.' })),
  width: nullable(Type.Integer({ description: 'Pixels after orientation.' })),
  height: nullable(Type.Integer()),
  frames: nullable(Type.Integer({ description: 'More than 1: an animation.' })),
  hasAlpha: nullable(Type.Boolean()),
  thumbhash: nullable(Type.String({ description: 'Base64.' })),
  dominantColor: nullable(Type.String({ description: '`#rrggbb`.' })),
  exif: nullable(Type.Record(Type.String(), Type.Unknown())),
  metadata: Type.Record(Type.String(), Type.Unknown(), { description: 'The client’s own.' }),
  visibility: nullable(
    Type.String({ enum: ['public', 'private'], description: 'Null: as the project says.' }),
  ),
  integrity: Type.String({ enum: ['unchecked', 'ok', 'missing', 'corrupt'] }),
  createdAt: moment,
  updatedAt: moment,
  url: Type.String({ description: 'Of the original; as with variants.' }),
  variants: Type.Record(Type.String(), VariantViewSchema),
});
export type FileView = Static<typeof FileViewSchema>;
export type VariantView = Static<typeof VariantViewSchema>;

export interface PresenterOptions {
  readonly db: Db;
  readonly links: Links;
  /** Where clients reach the server, without a slash at the end. */
  readonly publicUrl: string;
  /** Where they reach public files by way of a CDN in front of it. */
  readonly cdnUrl?: string | undefined;
}

/** Makes the views of some files of one project, in their order. */
export type Presenter = (projectId: string, files: readonly FileRow[]) => Promise<readonly FileView[]>;

/** Makes the view of files, two queries for a page of any length. The key in the store is no part of it. */
export function createPresenter({ db, links, publicUrl, cdnUrl }: PresenterOptions): Presenter {
  const urls = createUrls({ base: publicUrl, cdn: cdnUrl }, links);
  return async (projectId, files) => {
    const [project, rows] = await Promise.all([
      findProject(db, projectId),
      variantsOf(
        db,
        projectId,
        files.map(({ id }) => id),
      ),
    ]);
    // Deleted between the look at its files and this one.
    if (!project) throw new Problem('not-found');
    const byFile = new Map<string, VariantRow[]>(files.map(({ id }) => [id, []]));
    for (const row of rows) byFile.get(row.file_id)?.push(row);
    return files.map((file) => viewOf(file, byFile.get(file.id) ?? [], project.settings, urls));
  };
}

function viewOf(file: FileRow, rows: readonly VariantRow[], settings: ProjectSettings, urls: Urls): FileView {
  const open = (file.visibility ?? settings.visibility) === 'public';
  const url = (variant?: string, version?: string): string => {
    const named = variant === undefined ? {} : { variant };
    return open
      ? urls.publicUrl(file.id, { ...named, ...(version === undefined ? {} : { version }) })
      : urls.signedUrl(file.id, named);
  };
  const variants: [string, VariantView][] = rows.map((row) => [
    row.name,
    variantView(row, url(row.name, row.s3_key === null ? undefined : versionOf(file.generation, row.s3_key))),
  ]);
  // Variants that the project got after this upload are made when somebody asks.
  const missing = isDecodable(file.mime_type)
    ? Object.keys(settings.variants).filter((name) => !rows.some((row) => row.name === name))
    : [];
  for (const name of missing) variants.push([name, unmade(url(name))]);
  return {
    id: file.id,
    projectId: file.project_id,
    filename: file.filename,
    mimeType: file.mime_type,
    size: file.size,
    sha256: file.sha256?.toString('hex') ?? null,
    status: file.status,
    failure: file.failure,
    width: file.width,
    height: file.height,
    frames: file.frames,
    hasAlpha: file.has_alpha,
    thumbhash: file.thumbhash?.toString('base64') ?? null,
    dominantColor: file.dominant_color,
    exif: isObject(file.exif) ? file.exif : null,
    metadata: isObject(file.metadata) ? file.metadata : {},
    visibility: file.visibility === 'public' || file.visibility === 'private' ? file.visibility : null,
    integrity: file.integrity,
    createdAt: file.created_at.toISOString(),
    updatedAt: file.updated_at.toISOString(),
    url: url(undefined, versionOf(file.generation)),
    variants: Object.fromEntries(variants),
  };
}

function variantView(row: VariantRow, url: string): VariantView {
  const { status, failure_code: code, failure: detail } = row;
  return {
    status,
    url,
    width: row.width,
    height: row.height,
    size: row.size,
    mimeType: row.mime_type,
    ...(status === 'failed' && code !== null ? { failure: { code, detail: detail ?? '' } } : {}),
    ...(row.lazy ? { lazy: true } : {}),
  };
}

function unmade(url: string): VariantView {
  return { status: 'pending', url, width: null, height: null, size: null, mimeType: null, lazy: true };
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}
