import { sql } from 'kysely';

import type { Db, Tx } from '../../../foundation/database/connect.js';
import type { UploadRow } from '../../files/upload-queries.js';

/**
 * Remembers that an address works until `expiresIn` seconds from now: the upload's expiry counts from the last one.
 * @returns false when the upload is not open any more, so that nothing may be signed.
 */
export async function noteAddress(
  db: Db,
  uploadId: string,
  expiresIn: number,
  multipartId?: string,
): Promise<boolean> {
  const noted = await db
    .updateTable('uploads')
    .set({
      active_at: sql<Date>`greatest(active_at, now() + make_interval(secs => ${expiresIn}::float8))`,
      ...(multipartId === undefined ? {} : { multipart_id: multipartId }),
    })
    .where('id', '=', uploadId)
    .where('status', '=', 'open')
    .$if(multipartId !== undefined, (query) =>
      query.where((eb) =>
        eb.or([eb('multipart_id', 'is', null), eb('multipart_id', '=', multipartId ?? '')]),
      ),
    )
    .executeTakeFirst();
  return noted.numUpdatedRows === 1n;
}

/** @param partBytes of each part but the last; null when the client decides. */
export async function nameMultipart(
  db: Db,
  uploadId: string,
  multipartId: string,
  partBytes: number | null,
): Promise<void> {
  await db
    .updateTable('uploads')
    .set({ multipart_id: multipartId, part_bytes: partBytes })
    .where('id', '=', uploadId)
    .execute();
}

/** Begins the completion of an open upload; false when another request has. */
export async function beginCompletion(tx: Tx, uploadId: string): Promise<boolean> {
  const begun = await tx
    .updateTable('uploads')
    .set({ status: 'completing' })
    .where('id', '=', uploadId)
    .where('protocol', '=', 'direct')
    .where('status', '=', 'open')
    .executeTakeFirst();
  return begun.numUpdatedRows === 1n;
}

/** Seconds until the last address that was signed for the upload has expired; 0 when it has. */
export async function secondsOfAddresses(db: Db | Tx, uploadId: string): Promise<number> {
  const { rows } = await sql<{ seconds: number }>`
    SELECT greatest(0, extract(epoch FROM active_at - now()))::float8 AS seconds FROM uploads WHERE id = ${uploadId}
  `.execute(db);
  return rows[0]?.seconds ?? 0;
}

/** The file's row, when it has been opened already: a later attempt goes on with it. */
export async function findVerifying(
  db: Db,
  { project_id: projectId, file_id: fileId }: Pick<UploadRow, 'project_id' | 'file_id'>,
) {
  return db
    .selectFrom('files')
    .selectAll()
    .where('id', '=', fileId)
    .where('project_id', '=', projectId)
    .executeTakeFirst();
}
