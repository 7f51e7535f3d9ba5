import Type, { type Static } from 'typebox';

import type { Db } from '../../foundation/database/connect.js';
import { Problem } from '../../foundation/problems.js';
import { findProject } from '../projects/queries.js';
import type { ProjectSettings } from '../projects/settings.js';
import { isDecodable } from '../variants/recipes.js';
import { variantsOf, type VariantRow } from '../variants/queries.js';
import type { FileRow } from '../files/queries.js';
import type { Links } from './links.js';
import { focalPointOf, isAdhoc, wishName } from '../variants/wanted.js';
import { commonVersion, generationOf, versionOf } from './source.js';
import { createUrls, type Urls } from './urls.js';

const nullable = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) =>
  Type.Union([schema, Type.Null()]);

const moment = Type.String({ format: 'date-time', description: 'RFC 3339, UTC.' });

const variantStates = ['pending', 'rendering', 'ready', 'failed'] as const;
const failure = Type.Object({ code: Type.String(), detail: Type.String() });

/** One derived image of a file. */
export const VariantViewSchema = Type.Object({
  status: Type.String({
    enum: [...variantStates],
    description: '`pending` with `lazy` is made on its first request.',
  }),
  url: Type.String({
    description: 'Works as it stands: for everybody in a public project, else signed for a while.',
  }),
  width: nullable(Type.Integer()),
  height: nullable(Type.Integer()),
  size: nullable(Type.Integer({ description: 'Bytes.' })),
  mimeType: nullable(Type.String()),
  failure: Type.Optional(failure),
  formats: Type.Optional(
    Type.Record(
      Type.String(),
      Type.Object({
        status: Type.String({ enum: [...variantStates] }),
        size: nullable(Type.Integer()),
        mimeType: nullable(Type.String()),
        failure: Type.Optional(failure),
      }),
      { description: 'Of a variant with the format `auto`: what the URL answers with by `Accept`.' },
    ),
  ),
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
  focalPoint: nullable(
    Type.Object(
      { x: Type.Number(), y: Type.Number() },
      { description: 'What `position: focal` keeps in view: parts of width and height from the top left.' },
    ),
  ),
  exif: nullable(Type.Record(Type.String(), Type.Unknown())),
  metadata: Type.Record(Type.String(), Type.Unknown(), { description: 'The client’s own.' }),
  visibility: nullable(
    Type.String({ enum: ['public', 'private'], description: 'Null: as the project says.' }),
  ),
  integrity: Type.String({ enum: ['unchecked', 'ok', 'missing', 'corrupt'] }),
  deletedAt: nullable(
    Type.String({
      format: 'date-time',
      description: 'When it was put into the trash; its links answer 404.',
    }),
  ),
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
  const variants: [string, VariantView][] = [];
  for (const [name, formats] of byWish(rows)) {
    // The highest generation among the formats is their common version; one row is its own.
    const generations = formats.flatMap(({ s3_key: key }) => (key === null ? [] : [generationOf(key)]));
    const version =
      generations.length > 0 ? commonVersion(file.generation, Math.max(...generations)) : undefined;
    variants.push([name, viewOfWish(formats, url(name, version))]);
  }
  // Variants that the project got after this upload are made when somebody asks.
  const known = new Set(variants.map(([name]) => name));
  if (isDecodable(file.mime_type)) {
    for (const name of Object.keys(settings.variants)) {
      if (!known.has(name)) variants.push([name, unmade(url(name))]);
    }
  }
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
    focalPoint: focalPointOf(file) ?? null,
    exif: isObject(file.exif) ? file.exif : null,
    metadata: isObject(file.metadata) ? file.metadata : {},
    visibility: file.visibility === 'public' || file.visibility === 'private' ? file.visibility : null,
    integrity: file.integrity,
    deletedAt: file.deleted_at?.toISOString() ?? null,
    createdAt: file.created_at.toISOString(),
    updatedAt: file.updated_at.toISOString(),
    url: url(undefined, versionOf(file.generation)),
    variants: Object.fromEntries(variants),
  };
}

/** The rows of a file by the names in the settings; transformations are nobody's but the asker's. */
function byWish(rows: readonly VariantRow[]): ReadonlyMap<string, readonly VariantRow[]> {
  const wishes = new Map<string, VariantRow[]>();
  for (const row of rows) {
    if (isAdhoc(row.name)) continue;
    const name = wishName(row.name);
    wishes.set(name, [...(wishes.get(name) ?? []), row]);
  }
  return wishes;
}

/** One row is shown as it is. Of several formats the state is that of those made at once, with each format beside. */
function viewOfWish(rows: readonly VariantRow[], url: string): VariantView {
  const [only, ...more] = rows;
  if (only && more.length === 0 && !only.name.includes('.')) return variantView(only, url);
  const formats = rows.filter(({ name }) => name.includes('.'));
  const eager = formats.some(({ lazy }) => !lazy) ? formats.filter(({ lazy }) => !lazy) : formats;
  const leading =
    ['failed', 'rendering', 'pending']
      .map((status) => eager.find((row) => row.status === status))
      .find((row) => row !== undefined) ?? eager[0];
  if (!leading) return unmade(url);
  return {
    ...variantView(leading, url),
    size: null,
    mimeType: null,
    formats: Object.fromEntries(
      formats.map((row) => {
        const { status, size, mimeType, failure } = variantView(row, url);
        return [
          row.name.slice(row.name.indexOf('.') + 1),
          { status, size, mimeType, ...(failure ? { failure } : {}) },
        ];
      }),
    ),
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
