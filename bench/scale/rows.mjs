/** Rows by the million, made in SQL: what the benches of lists and of removal work with. */
const idSql = (n) =>
  `('0190' || lpad(to_hex(${n} >> 16), 8, '0') || '7000' || '8000' || lpad(to_hex(${n} & 65535), 12, '0'))::uuid`;

/** Project settings whose three variants the rows have. */
export const variantNames = ['thumbnail', 'medium', 'large'];

/**
 * Adds ready files number `from` to `to`, each with three variants, to a project. Ids grow with the number, as with time.
 *
 * Every 8th is a PNG and every 50,000th a PDF; one in 5,000 failed; every second is called `holiday`, the newest ten of each
 * thousandth `rare`, and of the oldest 5 % one in ten `bygone`.
 */
export async function insertFiles(pool, { projectId, from, to, total = to, seed = 0 }) {
  const step = 100_000;
  for (let start = from; start < to; start += step) {
    const range = [start + seed, Math.min(start + step, to) + seed];
    await pool.query(
      `INSERT INTO files (id, project_id, s3_key, filename, mime_type, status, failure, size, sha256, width, height, frames)
       SELECT id, $1::uuid, $1::text || '/files/' || id || '.jpg',
         CASE WHEN n % 2 = 0 THEN 'holiday ' ELSE 'picture ' END || md5(n::text)
           || CASE WHEN n % ($4::bigint / 10) = 7 THEN ' rare' ELSE '' END
           || CASE WHEN n < $4::bigint / 20 AND n % 10 = 3 THEN ' bygone' ELSE '' END || '.jpg',
         CASE WHEN n % 50000 = 11 THEN 'application/pdf' WHEN n % 8 = 0 THEN 'image/png' ELSE 'image/jpeg' END,
         CASE WHEN n % 5000 = 13 THEN 'failed' ELSE 'ready' END,
         CASE WHEN n % 5000 = 13 THEN 'It cannot be read.' END, 1000000, sha256(n::text::bytea), 4000, 3000, 1
       FROM (SELECT n, ${idSql('n')} AS id FROM generate_series($2::bigint, $3::bigint - 1) AS n) AS made`,
      [projectId, ...range, total],
    );
    await pool.query(
      `INSERT INTO variants (file_id, name, project_id, status, recipe, recipe_digest, wanted_digest, generation, s3_key, mime_type, size, sha256, width, height)
       SELECT id, name, $1::uuid, 'ready', '{"width": 800}', 'x', 'x', 1,
         $1::text || '/' || name || '/' || id || '.webp', 'image/webp', 20000, sha256(n::text::bytea), 800, 600
       FROM (SELECT n, ${idSql('n')} AS id FROM generate_series($2::bigint, $3::bigint - 1) AS n) AS made,
         unnest($4::text[]) AS name`,
      [projectId, ...range, variantNames],
    );
  }
  await pool.query('VACUUM ANALYZE files');
  await pool.query('VACUUM ANALYZE variants');
}

/** How often `ilike` finds the text among a project's files. */
export async function hitsOf(pool, projectId, text) {
  const { rows } = await pool.query(
    'SELECT count(*)::int AS hits FROM files WHERE project_id = $1 AND filename ILIKE $2',
    [projectId, `%${text}%`],
  );
  return rows[0].hits;
}

/** The cursor behind which the last page of a project's list begins. */
export async function cursorBeforeLast(pool, projectId, limit) {
  const { rows } = await pool.query(
    'SELECT id FROM files WHERE project_id = $1 ORDER BY id OFFSET $2 LIMIT 1',
    [projectId, limit],
  );
  return Buffer.from(rows[0].id, 'latin1').toString('base64url');
}
