import type { BlobStore } from '../../foundation/blobs/blob-store.js';
import type { Db } from '../../foundation/database/connect.js';
import { judgeConditions, rangeCounts } from '../../foundation/http/conditions.js';
import { contentSafetyHeaders, dispositionHeader } from '../../foundation/http/content-headers.js';
import { readRange } from '../../foundation/http/ranges.js';
import { Problem } from '../../foundation/problems.js';
import type { ProjectSettings } from '../projects/settings.js';
import { findAsked, type Asked, type AskedOptions } from './asked.js';
import type { ContentQuery, ContentRequest } from './content-request.js';
import { findVariant, type LazyOptions } from './lazy.js';
import type { LentBuffers } from './lent-buffers.js';
import type { Placeholders } from './placeholder.js';
import { accelHeaders, nothing, placeholderAnswer, wholeAnswer, type ContentAnswer } from './answers.js';
import type { BlobMemory } from './blob-memory.js';
import type { BlobFault } from './bytes.js';
import type { ContentRow } from './queries.js';
import { mayRedirect, redirectTo, type RedirectOptions } from './redirect.js';
import { originalOf, visibilityOf, type Source } from './source.js';
import type { Urls } from './urls.js';

export interface ContentOptions extends AskedOptions, LazyOptions, RedirectOptions {
  readonly db: Db;
  readonly blobs: BlobStore;
  readonly placeholders: Placeholders;
  readonly urls: Urls;
  readonly memory: BlobMemory;
  readonly buffers: LentBuffers;
  readonly onFault: (kind: BlobFault) => void;
  /** Compare whole answers with the row's SHA-256 while they are sent. */
  readonly verify: boolean;
  /** Path under which a proxy in front (nginx) reads the blobs itself; undefined: we send them. */
  readonly accelPrefix: string | undefined;
}

/** A year, the longest that caches keep anything; the URL changes with the bytes. */
const immutable = 'public, max-age=31536000, immutable';

/**
 * Answers a request for bytes: what is sent, and with which header. The row alone decides; the store is
 * asked only by whoever sends the body.
 *
 * @throws Problem for everything that is neither bytes, nor a redirect, nor `304`.
 */
export async function answerContent(
  options: ContentOptions,
  request: ContentRequest,
): Promise<ContentAnswer> {
  const { access, query } = request;
  // A link proves the right to exactly what it names; its signature covers the query, so this cannot differ.
  if (access.caller.kind === 'link' && access.caller.variant !== (query.variant ?? null)) {
    throw new Problem('forbidden', { detail: 'The link is for something else.' });
  }
  const asked = await findAsked(options, request);
  const answer = await answerAsked(options, request, asked);
  return asked.negotiated ? { ...answer, varyOnAccept: true } : answer;
}

async function answerAsked(
  options: ContentOptions,
  request: ContentRequest,
  asked: Asked,
): Promise<ContentAnswer> {
  const { row, settings, picture } = asked;
  if (!picture) return answerSource(options, request, row, settings, originalOf(row));
  const found = await findVariant(options, request, asked, picture);
  switch (found.kind) {
    case 'ready':
      return answerSource(options, request, found.row, settings, found.source);
    case 'other':
      return answerInstead(options, request, found.row, settings, found.source, 'variant');
    case 'original':
      return answerInstead(options, request, found.row, settings, originalOf(found.row), 'original');
    case 'placeholder':
      return placeholderAnswer(options.placeholders.of(found.row.file.thumbhash));
  }
}

async function answerSource(
  options: ContentOptions,
  request: ContentRequest,
  row: ContentRow,
  settings: ProjectSettings,
  source: Source,
): Promise<ContentAnswer> {
  const { access, query, headers } = request;
  // Of a private file nothing is kept under a version, and the way back would lead past the caller's credential.
  const visibility = visibilityOf(row, settings);
  const isPublic = visibility === 'public';
  if (isPublic && query.v !== undefined && query.v !== source.version && access.caller.kind !== 'link') {
    const current = options.urls.publicUrl(row.file.id, { ...query, version: source.version });
    return { status: 302, headers: { location: current, 'cache-control': 'no-store' }, body: nothing };
  }

  const { etag, modified } = source;
  const caching = cacheControl(visibility, settings, query, source);
  const verdict = judgeConditions(headers, source);
  if (verdict === 'precondition-failed') throw new Problem('precondition-failed', { headers: { etag } });
  if (verdict === 'not-modified') {
    const kept = { etag, 'last-modified': modified, 'cache-control': caching };
    return { status: 304, headers: kept, body: nothing };
  }

  const disposition = dispositionOf(query, source);
  if (mayRedirect(options, request, settings, visibility)) {
    const wish = { contentDisposition: disposition, cacheControl: caching };
    const redirect = await redirectTo(options, source, wish, settings, visibility);
    if (redirect) return redirect;
  }
  const isPlain = headers.range === undefined && options.accelPrefix === undefined;
  if (isPlain) return wholeAnswer(source, caching, disposition);

  const sent = {
    ...contentSafetyHeaders,
    etag,
    'last-modified': modified,
    'cache-control': caching,
    'content-type': source.mimeType,
    'content-disposition': disposition,
  };
  if (options.accelPrefix !== undefined && request.method === 'GET') {
    return {
      status: 200,
      headers: { ...sent, ...accelHeaders(options.accelPrefix, source.key) },
      body: nothing,
    };
  }
  // Range is defined for GET alone (RFC 9110 §14.2).
  const range =
    request.method === 'GET' &&
    rangeCounts(headers['if-range']?.toString(), source, new Date(options.clock.now()))
      ? readRange(headers.range, source.size)
      : ({ kind: 'whole' } as const);
  switch (range.kind) {
    case 'unsatisfiable':
      throw new Problem('range-not-satisfiable', {
        limit: source.size,
        headers: { 'content-range': `bytes */${source.size}` },
      });
    case 'part':
      return {
        status: 206,
        headers: {
          ...sent,
          'accept-ranges': 'bytes',
          'content-range': `bytes ${range.start}-${range.end}/${source.size}`,
          'content-length': range.end - range.start + 1,
        },
        body: { kind: 'blob', source, range },
      };
    case 'whole':
      return wholeAnswer(source, caching, disposition);
  }
}

/** A fallback says so, may not be kept, and has no tag: it is not what the URL names. */
async function answerInstead(
  options: ContentOptions,
  request: ContentRequest,
  row: ContentRow,
  settings: ProjectSettings,
  source: Source,
  what: 'original' | 'variant',
): Promise<ContentAnswer> {
  const disposition = dispositionOf(request.query, source);
  const told = { 'cache-control': 'no-store', 'x-variant-fallback': what };
  const visibility = visibilityOf(row, settings);
  if (mayRedirect(options, request, settings, visibility)) {
    const wish = { contentDisposition: disposition, cacheControl: 'no-store' };
    const redirect = await redirectTo(options, source, wish, settings, visibility);
    if (redirect) return { ...redirect, headers: { ...redirect.headers, ...told } };
  }
  return {
    status: 200,
    headers: {
      ...contentSafetyHeaders,
      ...told,
      'content-type': source.mimeType,
      'content-disposition': disposition,
      'content-length': source.size,
    },
    body: { kind: 'blob', source, range: undefined },
  };
}

function cacheControl(
  visibility: 'public' | 'private',
  { delivery }: ProjectSettings,
  { v }: ContentQuery,
  { version }: Source,
): string {
  if (visibility === 'public' && v === version) return immutable;
  return `${visibility}, max-age=${delivery.cacheSeconds}`;
}

function dispositionOf(query: ContentQuery, source: Source): string {
  const { download } = query;
  if (download === undefined) return source.disposition;
  const own = download === '' || download === '1' || download === 'true';
  return dispositionHeader('attachment', own ? source.name : download);
}
