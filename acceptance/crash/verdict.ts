import { callTimetable } from './passing-time.js';
import type { Installation } from './installation.js';

/** In the trash no pictures are made; what comes back from there gets them then. */
const outOfTrash = `(files.deleted_at IS NULL AND NOT EXISTS (
  SELECT FROM projects WHERE projects.id = files.project_id AND projects.deleted_at IS NOT NULL))`;

/** What must be empty once everything has settled, and how it is told when it is not. */
const leftovers: Readonly<Record<string, string>> = {
  'a file in an intermediate state': `SELECT id || ' is ' || status FROM files
    WHERE status NOT IN ('ready', 'failed') AND (${outOfTrash} OR status <> 'processing')`,
  'a file that failed': `SELECT id || ': ' || coalesce(failure, '') FROM files WHERE status = 'failed' AND ${outOfTrash}`,
  'a variant in an intermediate state': `SELECT file_id || '/' || name || ' is ' || variants.status || ': ' || coalesce(variants.failure, '')
    FROM variants
    JOIN files ON files.id = file_id
    WHERE (variants.status <> 'ready' AND variants.failure_code IS DISTINCT FROM 'unsupported-codec' AND NOT lazy AND ${outOfTrash}) OR pending_key IS NOT NULL`,
  'an upload that is not over': `SELECT id || ' is ' || status FROM uploads WHERE status IN ('open', 'completing')`,
  'quota that an upload holds': `SELECT project_id || ' reserves ' || reserved_bytes FROM project_usage WHERE reserved_bytes <> 0`,
  'a job that was given up': `SELECT kind || ': ' || coalesce(error, '') FROM finished_jobs WHERE state = 'dead'`,
  'a job that is not done': `SELECT kind || ' waits' FROM waiting_jobs UNION ALL SELECT kind || ' runs' FROM running_jobs`,
  'a key that is still to be deleted': `SELECT key || ' ' || attempts || ' ' || coalesce(last_error, '') FROM tombstones`,
  'a walk that is not over': `SELECT 'regeneration ' || id FROM regenerations WHERE finished_at IS NULL
    UNION ALL SELECT 'deletion ' || id FROM deletions WHERE finished_at IS NULL
    UNION ALL SELECT 'import ' || id || ' is ' || status FROM imports WHERE status NOT IN ('completed', 'failed')`,
};

/** How an installation stands once it has settled. */
export interface Verdict {
  /** fsck's own words. */
  readonly fsck: string;
  /** Everything that must not be. */
  readonly faults: readonly string[];
}

/** Days, in which the timetable does all it has to do, that may be needed: keys are deleted twice. */
const daysToSettle = 3;

/**
 * Lets an installation settle (jobs and timetable of a healthy worker, some days) and asks fsck, then the tables, then the
 * store itself: between them nothing may be left over.
 */
export async function settle(installation: Installation): Promise<Verdict> {
  const { store, db, passTime, work } = installation;
  const faults: string[] = [];
  const must = async (...args: readonly string[]): Promise<string> => {
    const { code, output } = await installation.command(...args);
    if (code !== 0) faults.push(`mediablobkit ${args.join(' ')} ended with ${code}: ${output.trim()}`);
    return output;
  };
  await work();
  for (let day = 1; day <= daysToSettle; day++) {
    await passTime();
    await callTimetable(db);
    await work();
    if (day > 1 && (await rows(installation, 'SELECT key FROM tombstones')).length === 0) break;
  }
  // On S3 only the sweep ends puts in parts that nobody goes on with before they are a day old.
  if (store.kind === 's3') {
    const output = await must('cleanup', 'sweep', '--delete', '--json');
    for (const line of output.split('\n').filter((text) => text.includes('"type":"finding"'))) {
      if (!line.includes('"kind":"unfinished"')) faults.push(`the sweep found ${line}`);
    }
  }
  const said = await must('fsck', '--deep', '--json');
  const fsck = said.split('\n').find((line) => line.startsWith('{"found"')) ?? '';
  for (const [what, statement] of Object.entries(leftovers)) {
    for (const row of await rows(installation, statement)) faults.push(`${what}: ${row}`);
  }
  const named = await rows(
    installation,
    'SELECT s3_key FROM files UNION ALL SELECT s3_key FROM variants WHERE s3_key IS NOT NULL',
  );
  const [inRows, inStore] = [new Set(named), new Set(await store.keys())];
  for (const key of inStore) if (!inRows.has(key)) faults.push(`a blob that nothing names: ${key}`);
  for (const key of inRows) if (!inStore.has(key)) faults.push(`a row without its blob: ${key}`);
  return { fsck: /"found":0\b/.test(fsck) ? 'clean' : fsck || 'could not check', faults };
}

async function rows({ db }: Installation, statement: string): Promise<readonly string[]> {
  const result = await db.query<unknown[]>({ text: statement, rowMode: 'array' });
  return result.rows.map((row) => String(row[0]));
}
