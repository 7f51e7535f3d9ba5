import { sql, type Selectable } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';
import type { Files, Json, Variants } from '../../foundation/database/tables.js';
import { wishName } from '../variants/wanted.js';

type File = Selectable<Files>;
type Variant = Selectable<Variants>;

/** All that one answer with bytes needs to know. */
export interface ContentRow {
  readonly file: Pick<
    File,
    | 'id'
    | 'project_id'
    | 's3_key'
    | 'filename'
    | 'mime_type'
    | 'size'
    | 'sha256'
    | 'thumbhash'
    | 'visibility'
    | 'generation'
    | 'created_at'
    | 'frames'
    | 'focal_x'
    | 'focal_y'
  >;
  /** The variant asked for, when it has a row. */
  readonly variant:
    | (Pick<
        Variant,
        | 'name'
        | 'status'
        | 'failure_code'
        | 'failure'
        | 'recipe_digest'
        | 's3_key'
        | 'mime_type'
        | 'size'
        | 'sha256'
        | 'updated_at'
        | 'refused_digest'
        | 'expires_at'
      > & {
        /** Highest generation among the stored formats of a variant whose format is negotiated; null for others. */
        readonly commonGeneration: number | null;
      })
    | undefined;
  readonly settings: Json;
  /** Version of the project's row, which changes with its settings. */
  readonly projectVersion: number;
}

/** File, project and variant in one query; undefined when the file is not (or no longer) for others to see. */
export async function findContent(
  db: Db,
  projectId: string,
  fileId: string,
  variant: string | undefined,
): Promise<ContentRow | undefined> {
  const row = await db
    .selectFrom('files')
    .innerJoin('projects', 'projects.id', 'files.project_id')
    .leftJoin('variants', (join) =>
      join.onRef('variants.file_id', '=', 'files.id').on('variants.name', '=', variant ?? ''),
    )
    .select([
      'files.id',
      'files.project_id',
      'files.s3_key',
      'files.filename',
      'files.mime_type',
      'files.size',
      'files.sha256',
      'files.thumbhash',
      'files.visibility',
      'files.generation',
      'files.created_at',
      'files.frames',
      'files.focal_x',
      'files.focal_y',
      'projects.settings',
      'projects.version as projectVersion',
      'variants.name as variantName',
      'variants.status as variantStatus',
      'variants.failure_code as variantFailureCode',
      'variants.failure as variantFailure',
      'variants.recipe_digest as variantDigest',
      'variants.s3_key as variantKey',
      'variants.mime_type as variantType',
      'variants.size as variantSize',
      'variants.sha256 as variantSha256',
      'variants.updated_at as variantUpdatedAt',
      'variants.refused_digest as variantRefused',
      'variants.expires_at as variantExpiresAt',
    ])
    .select(
      variant?.includes('.') === true
        ? commonGeneration(wishName(variant)).as('commonGeneration')
        : sql<null>`null`.as('commonGeneration'),
    )
    .where('files.id', '=', fileId)
    .where('files.project_id', '=', projectId)
    .where('files.deleted_at', 'is', null)
    .where('files.status', 'in', ['processing', 'ready', 'failed'])
    .where('projects.deleted_at', 'is', null)
    .executeTakeFirst();
  if (!row) return undefined;
  const { variantName, variantStatus, variantDigest, variantUpdatedAt } = row;
  const found =
    variantName !== null && variantStatus !== null && variantDigest !== null && variantUpdatedAt !== null;
  return {
    file: row,
    variant: found
      ? {
          name: variantName,
          status: variantStatus,
          failure_code: row.variantFailureCode,
          failure: row.variantFailure,
          recipe_digest: variantDigest,
          s3_key: row.variantKey,
          mime_type: row.variantType,
          size: row.variantSize,
          sha256: row.variantSha256,
          updated_at: variantUpdatedAt,
          refused_digest: row.variantRefused,
          expires_at: row.variantExpiresAt,
          commonGeneration: row.commonGeneration,
        }
      : undefined,
    settings: row.settings,
    projectVersion: row.projectVersion,
  };
}

/** The generation is the number before the extension of a key; the first one has none. */
function commonGeneration(variant: string) {
  return sql<number | null>`(
    SELECT max(coalesce(substring(s.s3_key FROM '\\.([0-9]+)\\.[a-z0-9]+$')::integer, 1))
    FROM variants AS s
    WHERE s.file_id = files.id AND split_part(s.name, '.', 1) = ${variant} AND s.name <> ${variant}
      AND s.status = 'ready')`;
}

/** Ready pictures of a file under any of these names of rows. */
export async function findReady(
  db: Db,
  projectId: string,
  fileId: string,
  names: readonly string[],
): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('variants')
    .select('name')
    .where('project_id', '=', projectId)
    .where('file_id', '=', fileId)
    .where('name', 'in', names)
    .where('status', '=', 'ready')
    .execute();
  return rows.map(({ name }) => name);
}
