import type { Database } from '../../src/foundation/database/connect.js';

/** All rows of a database as they were at one moment. */
export interface Snapshot {
  /** Puts every row back. */
  restore(): Promise<void>;
  /** Names of the tables that differ from it, apart from notes of when something was last used. */
  changed(): Promise<string[]>;
}

/** Written by whoever is let in far enough to be refused, and told to nobody but the owner. */
const notes: ReadonlySet<string> = new Set(['last_used_at', 'last_used_address']);

/** Keeps a copy of every table beside it. */
export async function takeSnapshot({ pool }: Pick<Database, 'pool'>): Promise<Snapshot> {
  const { rows } = await pool.query<{ table: string; columns: string[] }>(
    `SELECT table_name AS table, array_agg(column_name::text ORDER BY ordinal_position) AS columns
     FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
     WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND is_generated = 'NEVER'
     GROUP BY table_name`,
  );
  const tables = rows.map(({ table, columns }) => ({
    table,
    list: columns.map((name) => `"${name}"`).join(', '),
    compared: columns.filter((name) => !notes.has(name)).map((name) => `"${name}"`),
  }));
  await pool.query(
    `CREATE SCHEMA kept; ${tables.map(({ table }) => `CREATE TABLE kept."${table}" AS TABLE public."${table}"`).join('; ')}`,
  );
  const restoring = tables
    .map(
      ({ table, list }) =>
        `DELETE FROM public."${table}"; INSERT INTO public."${table}" (${list}) SELECT ${list} FROM kept."${table}"`,
    )
    .join('; ');
  const digest = (schema: string, { table, compared }: (typeof tables)[number]) =>
    `SELECT md5(coalesce(string_agg(line, E'\\n' ORDER BY line), '')) FROM
       (SELECT ROW(${compared.join(', ')})::text AS line FROM ${schema}."${table}") AS lines`;
  return {
    async restore() {
      // Without triggers: rows come back in any order, and the audit log lets nothing be taken from it.
      await pool.query(`BEGIN; SET LOCAL session_replication_role = replica; ${restoring}; COMMIT`);
    },
    async changed() {
      const answers = await pool.query<{ table: string; same: boolean }>(
        tables
          .map(
            (one) =>
              `SELECT '${one.table}' AS table, (${digest('public', one)}) = (${digest('kept', one)}) AS same`,
          )
          .join(' UNION ALL '),
      );
      return answers.rows.filter(({ same }) => !same).map(({ table }) => table);
    },
  };
}
