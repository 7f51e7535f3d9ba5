import type pg from 'pg';

/**
 * What settles by itself settles with time, by the database's clock. Instead of waiting for days, everything that waits
 * for time is made two days older; nothing else is touched.
 */
const older = [
  `UPDATE files SET heartbeat_at = heartbeat_at - interval '2 days' WHERE status IN ('uploading', 'verifying', 'aborted')`,
  `UPDATE uploads SET active_at = active_at - interval '2 days', lock_until = lock_until - interval '2 days'`,
  `UPDATE tombstones SET not_before = not_before - interval '2 days', again_after = again_after - interval '2 days'`,
  `UPDATE waiting_jobs SET run_at = run_at - interval '2 days' WHERE turn IS NULL`,
  `UPDATE running_jobs SET lease_until = lease_until - interval '2 days'`,
  `UPDATE sweeps SET held_until = held_until - interval '2 days' WHERE finished_at IS NULL`,
  `UPDATE variants SET updated_at = updated_at - interval '2 days' WHERE status IN ('pending', 'rendering')`,
] as const;

/** Lets every line of the timetable be due. */
export async function callTimetable(db: pg.Client): Promise<void> {
  await db.query('UPDATE timetable SET next_run_at = now()');
}

/** Only while no living process holds any of it. */
export async function makeOlder(db: pg.Client): Promise<void> {
  for (const statement of older) await db.query(statement);
}

/**
 * Lets the leases of dead workers run out, and the times of jobs that wait for their next attempt come.
 * @param living end of the name of the worker that is alive.
 * @returns how many jobs are waiting or running, or due by the timetable.
 */
export async function dueByNow(db: pg.Client, living: string): Promise<number> {
  await db.query(
    `UPDATE running_jobs SET lease_until = now() - interval '1 second'
     WHERE holder NOT LIKE '%' || $1 AND lease_until > now()`,
    [living],
  );
  await db.query(`UPDATE waiting_jobs SET run_at = now() WHERE turn IS NULL AND run_at > now()`);
  const { rows } = await db.query<{ count: number }>(
    `SELECT ((SELECT count(*) FROM waiting_jobs) + (SELECT count(*) FROM running_jobs)
      + (SELECT count(*) FROM timetable WHERE next_run_at <= now()))::integer AS count`,
  );
  return rows[0]?.count ?? 0;
}
