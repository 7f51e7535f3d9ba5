import { sql } from 'kysely';

import type { Db } from '../../foundation/database/connect.js';

/**
 * Whether pages of the origin may call the API about this project, or the project of this file: its settings list the
 * origin (or `*`), or an API key in force is bound to it. What is in the trash, or was never there, allows nobody.
 */
export async function isOriginAllowed(
  db: Db,
  target: { readonly kind: 'project' | 'file'; readonly id: string },
  origin: string,
): Promise<boolean> {
  const id =
    target.kind === 'project'
      ? sql`${target.id}::uuid`
      : sql`(SELECT project_id FROM files WHERE id = ${target.id}::uuid)`;
  const { rows } = await sql<{ allowed: boolean }>`
    SELECT coalesce(settings->'corsOrigins' ?| ARRAY[${origin}, '*'], false) OR EXISTS (
      SELECT FROM api_keys
      WHERE project_id = projects.id AND ${origin} = ANY (allowed_origins) AND disabled_at IS NULL
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    ) AS allowed
    FROM projects WHERE id = ${id} AND deleted_at IS NULL
  `.execute(db);
  return rows[0]?.allowed === true;
}
