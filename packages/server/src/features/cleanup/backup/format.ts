import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Raised when a program that reads only the former format would read this one wrongly. */
export const formatVersion = 1;

/** Checked before it becomes part of a path or of a statement. */
const Name = Type.String({ pattern: '^[a-z_][a-z0-9_]{0,62}$' });
const Count = Type.Integer({ minimum: 0 });
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

const BackupSchema = Type.Object({
  format: Type.Literal(formatVersion),
  program: Type.String(),
  /** ISO 8601, by the clock of the machine that made it. */
  madeAt: Type.String(),
  installation: Type.Union([Type.String(), Type.Null()]),
  migrations: Type.Array(Type.Object({ version: Count, name: Type.String(), checksum: Hash })),
  tables: Type.Array(
    Type.Object({ name: Name, columns: Type.Array(Name), rows: Count, bytes: Count, sha256: Hash }),
  ),
  blobs: Type.Object({
    count: Count,
    /** Of all blobs together. */
    bytes: Count,
    /** Of the manifest. */
    sha256: Hash,
    /** Whether the blobs themselves are in the backup. */
    included: Type.Boolean(),
  }),
});

/** What `backup.json` says. */
export type BackupDescription = Static<typeof BackupSchema>;

const LineSchema = Type.Object({
  key: Type.String(),
  size: Count,
  sha256: Hash,
  contentType: Type.String(),
});

/** A line of `blobs.jsonl`: a blob that the rows name. */
export type BlobLine = Static<typeof LineSchema>;

export const descriptionFile = 'backup.json';
export const manifestFile = 'blobs.jsonl';
export const blobFolder = 'blobs';

/** The folder is no backup, or not the one that was made; or it cannot be made. A sentence for a person. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
}

/** @throws BackupError */
export async function readDescription(folder: string): Promise<BackupDescription> {
  let found: unknown;
  try {
    found = JSON.parse(await readFile(join(folder, descriptionFile), 'utf8'));
  } catch (error) {
    throw new BackupError(`There is no backup in ${folder}: ${descriptionFile} is missing or unreadable.`, {
      cause: error,
    });
  }
  if (Value.Check(BackupSchema, found)) return found;
  const format = typeof found === 'object' && found !== null && 'format' in found ? found.format : undefined;
  throw new BackupError(
    typeof format === 'number' && format > formatVersion
      ? `The backup has format ${format}, and this program reads ${formatVersion}. Restore it with the newer program.`
      : `${descriptionFile} in ${folder} is not that of a backup.`,
  );
}

/** @throws BackupError */
export function readLine(line: string): BlobLine {
  const found: unknown = JSON.parse(line);
  if (Value.Check(LineSchema, found)) return found;
  throw new BackupError(`${manifestFile} has a line that names no blob: ${line.slice(0, 200)}`);
}
