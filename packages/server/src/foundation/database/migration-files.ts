import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { MigrationError } from './migration-error.js';

/** One step of the schema: `0004_queue.sql`. */
export interface Migration {
  /** 1 to 9999; orders them. */
  readonly version: number;
  /** `0004_queue`. */
  readonly name: string;
  readonly sql: string;
  /** SHA-256 of the text with LF line ends, as hex: git may check files out with CR LF. */
  readonly checksum: string;
}

/** Reads a folder of migrations in their order. @throws MigrationError for names out of the pattern or twice a number. */
export async function readMigrations(folder: string | URL): Promise<Migration[]> {
  const path = typeof folder === 'string' ? folder : fileURLToPath(folder);
  const names = (await readdir(path)).filter((name) => name.endsWith('.sql')).sort();
  const migrations = await Promise.all(
    names.map(async (file) => {
      const [, number] = /^(\d{4})_[a-z0-9_-]+\.sql$/.exec(file) ?? [];
      if (number === undefined)
        throw new MigrationError('bad-file', `${file} is no name of a migration (0001_name.sql).`);
      const sql = (await readFile(join(path, file), 'utf8')).replaceAll('\r\n', '\n');
      const checksum = createHash('sha256').update(sql).digest('hex');
      return { version: Number(number), name: file.slice(0, -'.sql'.length), sql, checksum };
    }),
  );
  for (const [index, { version, name }] of migrations.entries()) {
    const previous = migrations[index - 1];
    if (previous?.version === version) {
      throw new MigrationError('bad-file', `${previous.name} and ${name} have the same number.`);
    }
  }
  return migrations;
}
