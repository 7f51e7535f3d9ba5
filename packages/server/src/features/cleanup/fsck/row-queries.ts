import { sql, type RawBuilder } from 'kysely';

import type { Db } from '../../../foundation/database/connect.js';
import { inTransaction } from '../../projects/queries.js';

/** Something that must not be, as a row tells it. */
export interface Wrong {
  /** An id or a key. */
  readonly subject: string;
  readonly projectId: string | null;
  /** What is wrong with it, as a sentence. */
  readonly detail: string;
}

/** Bounds within which what is under way is no violation; all in seconds, by the database's clock. */
export interface Bounds {
  /** Silence after which an upload's process is taken for dead. */
  readonly uploadStaleSeconds: number;
  readonly uploadExpirySeconds: number;
  /** After which work that nobody does is lost: cleanup, and whoever plans anew, had their turns. */
  readonly slackSeconds: number;
}

/** Wrong rows that are named; what is beyond is counted by nobody. */
export const mostWrong = 1_000;

async function rowsOf(db: Db, query: RawBuilder<Wrong>): Promise<readonly Wrong[]> {
  return (await sql<Wrong>`${query} LIMIT ${mostWrong}`.execute(db)).rows;
}

const ago = (seconds: number) => sql`now() - make_interval(secs => ${seconds}::float8)`;
const visible = sql.raw(`('processing', 'ready', 'failed')`);

/** What a project's counter must say, from the rows that it counts. One statement, so one moment. */
const sums = sql`
  SELECT projects.id AS project_id, coalesce(f.bytes, 0) AS original_bytes, coalesce(f.files, 0) AS file_count,
    coalesce(f.trash, 0) AS trash_bytes, coalesce(v.bytes, 0) AS variant_bytes,
    coalesce(f.reserved, 0) + coalesce(u.reserved, 0) AS reserved_bytes
  FROM projects
  LEFT JOIN LATERAL (
    SELECT sum(size) FILTER (WHERE status IN ${visible}) AS bytes, count(*) FILTER (WHERE status IN ${visible}) AS files,
      sum(size) FILTER (WHERE status IN ${visible} AND deleted_at IS NOT NULL) AS trash, sum(reserved_bytes) AS reserved
    FROM files WHERE files.project_id = projects.id) AS f ON true
  LEFT JOIN LATERAL (
    SELECT sum(size) AS bytes FROM variants WHERE variants.project_id = projects.id AND s3_key IS NOT NULL) AS v ON true
  LEFT JOIN LATERAL (
    SELECT sum(reserved_bytes) AS reserved FROM uploads WHERE uploads.project_id = projects.id) AS u ON true`;

export function wrongCounters(db: Db): Promise<readonly Wrong[]> {
  const pairs = ['original_bytes', 'file_count', 'trash_bytes', 'variant_bytes', 'reserved_bytes'];
  const differ = sql.join(
    pairs.map((name) => sql`${sql.ref(`usage.${name}`)} <> ${sql.ref(`sums.${name}`)}`),
    sql` OR `,
  );
  const said = sql.join(
    pairs.map(
      (name) =>
        sql`CASE WHEN ${sql.ref(`usage.${name}`)} <> ${sql.ref(`sums.${name}`)}
          THEN ${`${name} `} || ${sql.ref(`usage.${name}`)} || ', counted ' || ${sql.ref(`sums.${name}`)} END`,
    ),
    sql`, `,
  );
  return rowsOf(
    db,
    sql`SELECT sums.project_id::text AS subject, sums.project_id::text AS "projectId",
      'the counter says ' || concat_ws('; ', ${said}) AS detail
    FROM (${sums}) AS sums JOIN project_usage AS usage ON usage.project_id = sums.project_id WHERE ${differ}`,
  );
}

/** Counts anew what a project holds, while nobody can book. @returns always true. */
export function recount(db: Db, { subject }: Wrong): Promise<boolean> {
  return inTransaction(db, async (tx) => {
    // Those who book do it last: what they have changed is seen below, or they wait and add to what is written here.
    await sql`SELECT FROM project_usage WHERE project_id = ${subject}::uuid FOR UPDATE`.execute(tx);
    await sql`
      UPDATE project_usage AS usage SET original_bytes = sums.original_bytes, file_count = sums.file_count,
        trash_bytes = sums.trash_bytes, variant_bytes = sums.variant_bytes, reserved_bytes = sums.reserved_bytes
      FROM (${sums} WHERE projects.id = ${subject}::uuid) AS sums
      WHERE usage.project_id = sums.project_id`.execute(tx);
    return true;
  });
}

export function silentUploads(
  db: Db,
  { uploadStaleSeconds, slackSeconds }: Bounds,
): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT files.id::text AS subject, files.project_id::text AS "projectId",
      'it is ' || status || ' since ' || heartbeat_at || ', and nobody sends it' AS detail
    FROM files WHERE status IN ('uploading', 'verifying', 'aborted')
      AND heartbeat_at < ${ago(uploadStaleSeconds + slackSeconds)}
      AND NOT EXISTS (SELECT FROM uploads WHERE uploads.file_id = files.id AND uploads.status = 'completing')`,
  );
}

export function forgottenUploads(db: Db, bounds: Bounds): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT id::text AS subject, project_id::text AS "projectId",
      'an upload of several requests is ' || status || ' and silent since ' || active_at AS detail
    FROM uploads WHERE status IN ('open', 'completing')
      AND active_at < ${ago(bounds.uploadExpirySeconds + bounds.slackSeconds)}`,
  );
}

export function leakedReservations(db: Db): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT id::text AS subject, project_id::text AS "projectId",
      'an upload that is ' || status || ' holds ' || reserved_bytes || ' bytes of the quota' AS detail
    FROM uploads WHERE status IN ('completed', 'failed') AND reserved_bytes > 0`,
  );
}

/** Gives back what an upload holds that is over. */
export function releaseReservation(db: Db, { subject }: Wrong): Promise<boolean> {
  return inTransaction(db, async (tx) => {
    const { rows } = await sql<{ project_id: string; reserved: number }>`
      WITH held AS (
        SELECT id, reserved_bytes FROM uploads
        WHERE id = ${subject}::uuid AND status IN ('completed', 'failed') AND reserved_bytes > 0 FOR UPDATE
      )
      UPDATE uploads SET reserved_bytes = 0 FROM held WHERE uploads.id = held.id
      RETURNING project_id, held.reserved_bytes AS reserved`.execute(tx);
    const [released] = rows;
    if (!released) return false;
    await sql`UPDATE project_usage SET reserved_bytes = greatest(0, reserved_bytes - ${released.reserved}::bigint)
      WHERE project_id = ${released.project_id}::uuid`.execute(tx);
    return true;
  });
}

export function leftParts(db: Db, { slackSeconds }: Bounds): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT id::text AS subject, project_id::text AS "projectId",
      'an upload that is ' || status || ' has left parts in the store' AS detail
    FROM uploads WHERE status IN ('completed', 'failed') AND multipart_id IS NOT NULL AND active_at < ${ago(slackSeconds)}`,
  );
}

const open = sql.raw(`(SELECT payload->>'fileId' AS file_id FROM waiting_jobs WHERE kind = 'render-variants'
  UNION ALL SELECT payload->>'fileId' FROM running_jobs WHERE kind = 'render-variants')`);

export function lostRenders(db: Db, { slackSeconds }: Bounds): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT variants.file_id || '/' || variants.name AS subject, variants.project_id::text AS "projectId",
      'it is ' || variants.status || ' since ' || variants.updated_at || ', and no job makes it' AS detail
    FROM variants JOIN files ON files.id = variants.file_id JOIN projects ON projects.id = files.project_id
    WHERE (variants.status = 'rendering' OR (variants.status = 'pending' AND NOT variants.lazy))
      AND variants.updated_at < ${ago(slackSeconds)} AND files.deleted_at IS NULL AND projects.deleted_at IS NULL
      AND files.status IN ${visible}
      AND NOT EXISTS (SELECT FROM ${open} AS open WHERE open.file_id = variants.file_id::text)`,
  );
}

/** What the state of a file must be by its eager variants. */
const stateByVariants = sql`CASE
  WHEN bool_or(v.status = 'failed' AND coalesce(v.failure_code, '') NOT IN ('unsupported-codec', 'no-ffmpeg')) THEN 'failed'
  WHEN bool_or(v.status IN ('pending', 'rendering')) THEN 'processing' ELSE 'ready' END`;

export function wrongStates(db: Db, { slackSeconds }: Bounds): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT id::text AS subject, project_id::text AS "projectId",
      'it is ' || status || ', and its variants say ' || by_variants AS detail
    FROM (
      SELECT files.id, files.project_id, files.status, files.updated_at, ${stateByVariants} AS by_variants
      FROM files LEFT JOIN variants AS v ON v.file_id = files.id AND NOT v.lazy
      WHERE files.status = 'processing' AND files.deleted_at IS NULL GROUP BY files.id
    ) AS judged
    WHERE by_variants <> status AND updated_at < ${ago(slackSeconds)}`,
  );
}

/** Gives a file the state that its variants say. */
export function settleState(db: Db, { subject }: Wrong): Promise<boolean> {
  return inTransaction(db, async (tx) => {
    await sql`SELECT FROM files WHERE id = ${subject}::uuid FOR UPDATE`.execute(tx);
    const { numAffectedRows } = await sql`
      UPDATE files SET status = judged.state, version = version + 1, updated_at = now()
      FROM (SELECT ${stateByVariants} AS state FROM variants AS v
        WHERE v.file_id = ${subject}::uuid AND NOT v.lazy) AS judged
      WHERE files.id = ${subject}::uuid AND files.status = 'processing' AND judged.state <> 'processing'`.execute(
      tx,
    );
    return (numAffectedRows ?? 0n) > 0n;
  });
}

export function strayKeys(db: Db): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT * FROM (
      SELECT s3_key AS subject, project_id::text AS "projectId",
        'the original of ' || id || ' lies where no original of its project does' AS detail
      FROM files WHERE s3_key !~ ('^' || project_id || '/files/' || id || '(\\.[0-9]+)?\\.[a-z0-9]{1,10}$')
      UNION ALL
      SELECT key, project_id::text, 'the variant ' || name || ' of ' || file_id || ' lies elsewhere'
      FROM variants CROSS JOIN LATERAL (VALUES (s3_key), (pending_key)) AS keys (key)
      WHERE key IS NOT NULL
        AND key !~ ('^' || project_id || '/' || replace(name, '.', '\\.') || '/' || file_id || '(\\.[0-9]+)?\\.[a-z0-9]{1,10}$')
    ) AS stray`,
  );
}

export function sharedKeys(db: Db): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT key AS subject, NULL::text AS "projectId", count(*) || ' rows name it' AS detail
    FROM (
      SELECT s3_key AS key FROM files
      UNION ALL SELECT s3_key FROM variants WHERE s3_key IS NOT NULL
      UNION ALL SELECT pending_key FROM variants WHERE pending_key IS NOT NULL
    ) AS named GROUP BY key HAVING count(*) > 1`,
  );
}

export function strayVariants(db: Db): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT variants.file_id || '/' || name AS subject, variants.project_id::text AS "projectId",
      'it belongs to another project than its file' AS detail
    FROM variants JOIN files ON files.id = variants.file_id WHERE files.project_id <> variants.project_id`,
  );
}

export function livingTombstones(db: Db): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT key AS subject, tombstones.project_id::text AS "projectId",
      'it is to be deleted (' || reason || '), and a living row names it' AS detail
    FROM tombstones WHERE EXISTS (SELECT FROM files WHERE s3_key = key AND status <> 'aborted')
      OR EXISTS (SELECT FROM variants WHERE s3_key = key) OR EXISTS (SELECT FROM variants WHERE pending_key = key)`,
  );
}

export async function dropTombstone(db: Db, { subject }: Wrong): Promise<boolean> {
  const { numAffectedRows } = await sql`
    DELETE FROM tombstones WHERE key = ${subject} AND (
      EXISTS (SELECT FROM files WHERE s3_key = key AND status <> 'aborted')
      OR EXISTS (SELECT FROM variants WHERE s3_key = key OR pending_key = key))`.execute(db);
  return (numAffectedRows ?? 0n) > 0n;
}

export function stuckTombstones(db: Db, { slackSeconds }: Bounds): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT key AS subject, project_id::text AS "projectId",
      'the store has not let go of it since ' || created_at || coalesce(': ' || last_error, '') AS detail
    FROM tombstones WHERE again_after IS NULL AND greatest(created_at, not_before) < ${ago(slackSeconds)}
      OR (last_error IS NOT NULL AND created_at < ${ago(86_400)})`,
  );
}

export function deadLeases(db: Db, { slackSeconds }: Bounds): Promise<readonly Wrong[]> {
  return rowsOf(
    db,
    sql`SELECT id::text AS subject, project_id::text AS "projectId",
      'the job ' || kind || ' is held by ' || holder || ', whose lease ended at ' || lease_until AS detail
    FROM running_jobs WHERE lease_until < ${ago(slackSeconds)}`,
  );
}

export function lostWalks(db: Db, { slackSeconds }: Bounds): Promise<readonly Wrong[]> {
  const without = (id: string, kind: string, member: string) => sql`NOT EXISTS (
    SELECT FROM waiting_jobs WHERE kind = ${kind} AND payload->>${member} = ${sql.ref(id)}::text
    UNION ALL SELECT FROM running_jobs WHERE kind = ${kind} AND payload->>${member} = ${sql.ref(id)}::text)`;
  return rowsOf(
    db,
    sql`SELECT * FROM (
      SELECT id::text AS subject, project_id::text AS "projectId", 'a regeneration runs, and no job does it' AS detail
      FROM regenerations WHERE status = 'running' AND updated_at < ${ago(slackSeconds)}
        AND ${without('regenerations.id', 'regenerate-variants', 'regenerationId')}
      UNION ALL
      SELECT id::text, project_id::text, 'a deletion of many files runs, and no job does it'
      FROM deletions WHERE status = 'running' AND updated_at < ${ago(slackSeconds)}
        AND ${without('deletions.id', 'delete-files', 'deletionId')}
      UNION ALL
      SELECT id::text, id::text, 'a project is being removed, and no job does it'
      FROM projects WHERE purged_at < ${ago(Math.max(slackSeconds, 7_200))}
        AND ${without('projects.id', 'purge-project', 'projectId')}
      UNION ALL
      SELECT id::text, project_id::text, 'an import is ' || status || ', and no job does it'
      FROM imports WHERE status IN ('waiting', 'running') AND updated_at < ${ago(Math.max(slackSeconds, 7_200))}
        AND ${without('imports.id', 'import-file', 'importId')}
    ) AS lost`,
  );
}
