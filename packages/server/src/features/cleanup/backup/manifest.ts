import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import type { Db } from '../../../foundation/database/connect.js';
import { createLedger } from '../ledger.js';
import { manifestFile, readLine, type BackupDescription, type BlobLine } from './format.js';

/** Writes which blobs the rows name, ordered by the bytes of their keys, one JSON object a line. */
export async function writeManifest(
  db: Db,
  folder: string,
): Promise<Pick<BackupDescription['blobs'], 'count' | 'bytes' | 'sha256'>> {
  const hash = createHash('sha256');
  let count = 0;
  let bytes = 0;
  const file = await open(join(folder, manifestFile), 'wx', 0o600);
  try {
    for await (const { key, size, sha256, contentType = '' } of createLedger(db).list()) {
      const blob: BlobLine = { key, size, sha256: sha256.toString('hex'), contentType };
      const line = `${JSON.stringify(blob)}\n`;
      hash.update(line);
      count += 1;
      bytes += size;
      await file.write(line);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { count, bytes, sha256: hash.digest('hex') };
}

/** What `writeManifest` wrote, one line in memory. @throws BackupError */
export async function* readManifest(folder: string): AsyncGenerator<BlobLine> {
  const input = createReadStream(join(folder, manifestFile), 'utf8');
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) yield readLine(line);
  } finally {
    input.destroy();
  }
}
